//! Requests of other nodes and of operators, over their own ALPN and with certificates: the counterpart of [`api`](crate::api).
//!
//! * [`serve`]: serves a connection; [`status`]: gathers the state of the cluster.

pub mod serve;
pub mod status;
