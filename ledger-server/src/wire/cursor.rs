//! The cursor of a list: which transaction to go on after, in which order, of whose list, and how many more to skip where the
//! page before did not come to its first.
//!
//! Clients must take it as it is. It carries a short hash of the ledger, the list and the order that it was given for, so
//! that one from another list is refused and not answered with a wrong page. That is no secret: who makes up a cursor gets
//! what the request without it would lead to, and nothing else.

use ledger_core::{TransactionId, UserId};

/// The list that a cursor belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    /// A number that tells this ledger from others.
    pub(crate) ledger: u128,
    /// Whose transactions; `None`: all withdrawals.
    pub(crate) user: Option<UserId>,
    pub(crate) ascending: bool,
}

impl List {
    /// The cursor after `id`, and `skip` more.
    pub(crate) fn cursor(self, id: TransactionId, skip: u64) -> String {
        let order = if self.ascending { 'a' } else { 'd' };
        let cursor = format!("{order}{:08x}{:x}", self.hash(id, skip), id.get());
        if skip == 0 { cursor } else { format!("{cursor}-{skip:x}") }
    }

    /// The transaction that `cursor` names, and how many more to skip, if it is one of this list's.
    pub(crate) fn read(self, cursor: &str) -> Option<(TransactionId, u64)> {
        let place = cursor.get(9..)?;
        let (id, skip) = place.split_once('-').unwrap_or((place, "0"));
        let id = TransactionId::new(u64::from_str_radix(id, 16).ok()?)?;
        let skip = u64::from_str_radix(skip, 16).ok()?;
        (self.cursor(id, skip) == cursor).then_some((id, skip))
    }

    /// FNV-1a: good enough to notice a mistake, and the same on every machine.
    fn hash(self, id: TransactionId, skip: u64) -> u32 {
        let order = [u8::from(self.ascending)];
        // No user has the number 0.
        let user = self.user.map_or(0, UserId::get).to_le_bytes();
        let (ledger, id) = (self.ledger.to_le_bytes(), id.get().to_le_bytes());
        let skip = &skip.to_le_bytes()[..if skip == 0 { 0 } else { 8 }];
        let bytes = ledger.iter().chain(&user).chain(&id).chain(&order).chain(skip);
        bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_by_its_own_list_alone() {
        let list = List { ledger: 7, user: UserId::new(1), ascending: false };
        let id = TransactionId::new(0xabc).unwrap();
        let cursor = list.cursor(id, 0);
        assert_eq!(list.read(&cursor), Some((id, 0)));
        assert_eq!(List { ascending: true, ..list }.read(&cursor), None);
        assert_eq!(List { user: UserId::new(2), ..list }.read(&cursor), None);
        assert_eq!(List { user: None, ..list }.read(&cursor), None);
        assert_eq!(List { ledger: 8, ..list }.read(&cursor), None);
        for bad in ["", "d", "x", "d00000000", "d000000000", "ééééé", &format!("{cursor}0"), &cursor.to_uppercase()]
        {
            assert_eq!(list.read(bad), None, "{bad}");
        }
        assert_eq!(list.read(&cursor.replace("abc", "+abc")), None);
        let skipping = list.cursor(id, 0x1f);
        assert_eq!(list.read(&skipping), Some((id, 0x1f)));
        for bad in [format!("{cursor}-1f"), format!("{cursor}-0"), format!("{cursor}-"), skipping.replace("1f", "1e")] {
            assert_eq!(list.read(&bad), None, "{bad}");
        }
    }
}
