//! The five udev functions that a static hwloc names, answering "there is no udev".
//!
//! hwloc asks udev for the vendor and model of block devices only, which flurm never looks at, and takes a null
//! context for "not available". With these here, `flurm` needs no `libudev.so` (which has no static library).

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

#[unsafe(no_mangle)]
extern "C" fn udev_new() -> *mut c_void {
    null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn udev_unref(_udev: *mut c_void) -> *mut c_void {
    null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn udev_device_new_from_subsystem_sysname(
    _udev: *mut c_void,
    _subsystem: *const c_char,
    _sysname: *const c_char,
) -> *mut c_void {
    null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn udev_device_unref(_device: *mut c_void) -> *mut c_void {
    null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn udev_device_get_property_value(_device: *mut c_void, _key: *const c_char) -> *const c_char {
    null()
}
