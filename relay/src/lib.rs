//! The UDP relay of Confab: fans encrypted voice frames out to the members of a room
