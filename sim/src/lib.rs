//! The bare world: cores on an event queue over modelled disks.
