//! The voice of Confab: codec, jitter buffer, concealment, mixing
