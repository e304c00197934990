//! Members and the delivery service on virtual time.

mod attack;
mod churn;
mod hostile;
mod joining;
mod lab;
