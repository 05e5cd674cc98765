//! The byte of each word that an entry can hold. A code is never used for another word.

use crate::view::TransactionKind;
use crate::withdrawals::{
    AttemptClass, InquiryAnswer, NoticeOutcome, Reservation, Resolution, ReturnCredit, Substatus,
};

pub(in crate::journal) const fn kind_code(kind: TransactionKind) -> u8 {
    match kind {
        TransactionKind::Charge => 1,
        TransactionKind::Transfer => 2,
        TransactionKind::Withdrawal => 3,
        TransactionKind::Return => 4,
    }
}

pub(in crate::journal) const fn kind_of(code: u8) -> Option<TransactionKind> {
    Some(match code {
        1 => TransactionKind::Charge,
        2 => TransactionKind::Transfer,
        3 => TransactionKind::Withdrawal,
        4 => TransactionKind::Return,
        _ => return None,
    })
}

pub(in crate::journal) const fn class_code(class: AttemptClass) -> u8 {
    match class {
        AttemptClass::Settled => 1,
        AttemptClass::Accepted => 2,
        AttemptClass::Rejected => 3,
        AttemptClass::NotSent => 4,
        AttemptClass::Ambiguous => 5,
    }
}

pub(in crate::journal) const fn class_of(code: u8) -> Option<AttemptClass> {
    Some(match code {
        1 => AttemptClass::Settled,
        2 => AttemptClass::Accepted,
        3 => AttemptClass::Rejected,
        4 => AttemptClass::NotSent,
        5 => AttemptClass::Ambiguous,
        _ => return None,
    })
}

pub(in crate::journal) const fn answer_code(answer: InquiryAnswer) -> u8 {
    match answer {
        InquiryAnswer::Settled => 1,
        InquiryAnswer::Failed => 2,
        InquiryAnswer::Pending => 3,
        InquiryAnswer::NotFound => 4,
        InquiryAnswer::Unsupported => 5,
        InquiryAnswer::Unanswered => 6,
    }
}

pub(in crate::journal) const fn answer_of(code: u8) -> Option<InquiryAnswer> {
    Some(match code {
        1 => InquiryAnswer::Settled,
        2 => InquiryAnswer::Failed,
        3 => InquiryAnswer::Pending,
        4 => InquiryAnswer::NotFound,
        5 => InquiryAnswer::Unsupported,
        6 => InquiryAnswer::Unanswered,
        _ => return None,
    })
}

pub(in crate::journal) const fn substatus_code(substatus: Substatus) -> u8 {
    match substatus {
        Substatus::Reserved => 1,
        Substatus::Submitting => 2,
        Substatus::Accepted => 3,
        Substatus::Unknown => 4,
        Substatus::NeedsReview => 5,
        Substatus::Completed => 6,
        Substatus::Failed => 7,
        Substatus::Cancelled => 8,
        Substatus::Returned => 9,
    }
}

pub(in crate::journal) const fn substatus_of(code: u8) -> Option<Substatus> {
    Some(match code {
        1 => Substatus::Reserved,
        2 => Substatus::Submitting,
        3 => Substatus::Accepted,
        4 => Substatus::Unknown,
        5 => Substatus::NeedsReview,
        6 => Substatus::Completed,
        7 => Substatus::Failed,
        8 => Substatus::Cancelled,
        9 => Substatus::Returned,
        _ => return None,
    })
}

pub(in crate::journal) const fn resolution_code(resolution: Resolution) -> u8 {
    match resolution {
        Resolution::Completed => 1,
        Resolution::Failed => 2,
    }
}

pub(in crate::journal) const fn resolution_of(code: u8) -> Option<Resolution> {
    Some(match code {
        1 => Resolution::Completed,
        2 => Resolution::Failed,
        _ => return None,
    })
}

pub(in crate::journal) const fn notice_code(notice: NoticeOutcome) -> u8 {
    match notice {
        NoticeOutcome::Settled => 1,
        NoticeOutcome::Failed => 2,
        NoticeOutcome::Pending => 3,
        NoticeOutcome::Returned => 4,
    }
}

pub(in crate::journal) const fn notice_of(code: u8) -> Option<NoticeOutcome> {
    Some(match code {
        1 => NoticeOutcome::Settled,
        2 => NoticeOutcome::Failed,
        3 => NoticeOutcome::Pending,
        4 => NoticeOutcome::Returned,
        _ => return None,
    })
}

pub(in crate::journal) const fn credit_code(credit: ReturnCredit) -> u8 {
    match credit {
        ReturnCredit::User => 1,
        ReturnCredit::Suspense => 2,
        ReturnCredit::Nobody => 3,
    }
}

pub(in crate::journal) const fn credit_of(code: u8) -> Option<ReturnCredit> {
    Some(match code {
        1 => ReturnCredit::User,
        2 => ReturnCredit::Suspense,
        3 => ReturnCredit::Nobody,
        _ => return None,
    })
}

pub(in crate::journal) const fn says_code(says: Reservation) -> u8 {
    match says {
        Reservation::Stands => 1,
        Reservation::Paid => 2,
        Reservation::Released => 3,
    }
}

pub(in crate::journal) const fn says_of(code: u8) -> Option<Reservation> {
    Some(match code {
        1 => Reservation::Stands,
        2 => Reservation::Paid,
        3 => Reservation::Released,
        _ => return None,
    })
}
