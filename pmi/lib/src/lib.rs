//! `libpmi.so` and, under its other name, `libpmi2.so`: the C interfaces of PMI-1 and PMI-2, for programs that open such a
//! library (Intel MPI by `I_MPI_PMI_LIBRARY`, Open MPI 4 by `FLUX_PMI_LIBRARY_PATH`).
//!
//! Behind both is the launcher's wire on `PMI_FD`; a process without it is alone, rank 0 of 1. Names and numbers are those
//! of the two header files, which every launcher's library has. Whatever a caller passes, nothing unwinds into it: null
//! pointers, buffers that are too short and texts that are not UTF-8 are errors with a number.

mod alone;
mod c;
mod connection;
pub mod one;
pub mod two;
