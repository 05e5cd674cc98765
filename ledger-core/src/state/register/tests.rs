//! A register against plain lists of what was said to it.

use proptest::prelude::*;

use super::*;

fn id(id: u64) -> TransactionId {
    TransactionId::new(id).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The next id is so much larger.
    Add(u64),
    /// Of all that there are one, to one of the substatuses.
    Change(usize, usize),
    Discrepancy,
    /// Of one, by a transaction or by none.
    Return(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..4u64).prop_map(Step::Add),
        4 => (any::<usize>(), 0..Substatus::ALL.len()).prop_map(|(index, to)| Step::Change(index, to)),
        1 => Just(Step::Discrepancy),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(index, by)| Step::Return(index, by)),
    ]
}

fn check(register: &Register, model: &[(TransactionId, Substatus)]) {
    let ids = || model.iter().map(|(id, _)| *id);
    assert!(register.after(None).eq(ids()));
    let after = |first: u64| ids().filter(move |id| id.get() > first);
    for first in (1..30).chain([u64::MAX]) {
        assert!(register.after(Some(id(first))).eq(after(first)), "after {first}");
    }
    for substatus in Substatus::ALL {
        let own = || model.iter().filter(|(_, own)| *own == substatus).map(|(id, _)| *id);
        assert_eq!(register.count(substatus), own().count() as u64, "{substatus:?}");
        if substatus == Substatus::Completed {
            continue;
        }
        assert!(register.in_substatus(substatus, None).eq(own()), "{substatus:?}");
        for first in (1..30).chain([u64::MAX]) {
            let later = own().filter(|id| id.get() > first);
            assert!(register.in_substatus(substatus, Some(id(first))).eq(later), "{substatus:?} after {first}");
        }
    }
    let open = model.iter().filter(|(_, substatus)| *substatus != Substatus::Completed).count();
    let bytes = register.all.capacity() * 8 + open * 32 + register.returns.len() * 32;
    assert_eq!(register.bytes(), bytes);
}

proptest! {
    #[test]
    fn it_agrees_with_plain_lists(steps in prop::collection::vec(step(), 0..40)) {
        let (mut register, mut model, mut last) = (Register::default(), Vec::new(), 0);
        let (mut discrepancies, mut returned, mut returns) = (0, 0, Vec::new());
        for step in steps {
            let of_all = |index: usize, all: &[(TransactionId, Substatus)]| index.checked_rem(all.len());
            match step {
                Step::Add(step) => {
                    last += step;
                    register.add(id(last));
                    model.push((id(last), Substatus::Reserved));
                }
                Step::Change(index, to) => {
                    if let Some(index) = of_all(index, &model) {
                        let (id, from) = model[index];
                        register.change(id, from, Substatus::ALL[to]);
                        model[index].1 = Substatus::ALL[to];
                    }
                }
                Step::Discrepancy => {
                    register.add_discrepancy();
                    discrepancies += 1;
                }
                Step::Return(index, is_named) => {
                    if let Some(index) = of_all(index, &model) {
                        returned += 1;
                        let by = is_named.then(|| id(1_000 + returned));
                        register.add_return(model[index].0, by);
                        returns.extend(by.map(|by| (by, model[index].0)));
                    }
                }
            }
            prop_assert_eq!((register.discrepancies(), register.returned()), (discrepancies, returned));
        }
        check(&register, &model);
        for (by, of) in &returns {
            prop_assert_eq!(register.returned_by(*by), Some(*of));
        }
        prop_assert_eq!(register.returns.len(), returns.len());
        prop_assert_eq!((register.returned_by(id(1_000)), register.returned_by(id(5_000))), (None, None));
    }
}

#[test]
fn what_is_completed_leaves_the_tree_and_what_is_returned_comes_back() {
    let mut register = Register::default();
    (1..=3).for_each(|n| register.add(id(n)));
    register.change(id(2), Substatus::Reserved, Substatus::Completed);
    register.change(id(3), Substatus::Reserved, Substatus::Completed);
    assert_eq!(register.by_substatus.len(), 1);
    register.change(id(3), Substatus::Completed, Substatus::Returned);
    check(&register, &[(id(1), Substatus::Reserved), (id(2), Substatus::Completed), (id(3), Substatus::Returned)]);
    register.add_return(id(3), Some(id(9)));
    register.add_return(id(2), None);
    assert_eq!((register.returned(), register.returned_by(id(9)), register.returned_by(id(3))), (2, Some(id(3)), None));
    register.add_discrepancy();
    register.add_discrepancy();
    assert_eq!(register.discrepancies(), 2);
    check(&register, &[(id(1), Substatus::Reserved), (id(2), Substatus::Completed), (id(3), Substatus::Returned)]);
}
