//! Who the others in a call are: the devices of their accounts, remembered when they are seen first, as `ssh` remembers hosts.
//! No I/O.
//!
//! * [`pins`]: the devices that are known, and what a credential is compared with them; `bounds`: how many are kept;
//! * `text`: the file of them;
//! * [`choice`]: what a person decides about them;
//! * [`watch`]: the members of one call;
//! * [`shown`]: what is said about them.

mod bounds;
pub mod choice;
pub mod pins;
pub mod shown;
mod text;
pub mod watch;

#[cfg(test)]
pub(crate) mod testing;

pub use pins::{Pins, Sighting, Standing};
pub use shown::IdentityShown;
pub use text::DamagedLine;
pub use watch::{OwnDevice, Seen, Watch};
