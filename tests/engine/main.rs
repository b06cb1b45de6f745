//! The engine on a simulated machine: no privileges, no kernel of its own.

mod damage;
mod downloads;
mod faults;
mod housekeeping;
mod pool_formats;
mod space;
mod spares;
mod volumes;
