//! The executor of withdrawals and the banks that it speaks to.
