//! The notebooks, and the part of the library that they use.

mod committed;
mod facade;
