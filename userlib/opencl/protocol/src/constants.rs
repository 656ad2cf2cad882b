// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Constants of CL/cl.h and CL/cl_ext.h that are used here; a test compares
//! them with the headers.
#![allow(missing_docs)]

use crate::types::{cl_bitfield, cl_context_properties, cl_int, cl_uint};

// Statuses and other signed numbers.
pub const CL_COMPLETE: cl_int = 0x0;
pub const CL_SUCCESS: cl_int = 0;
pub const CL_DEVICE_NOT_AVAILABLE: cl_int = -2;
pub const CL_OUT_OF_RESOURCES: cl_int = -5;
pub const CL_OUT_OF_HOST_MEMORY: cl_int = -6;
pub const CL_BUILD_PROGRAM_FAILURE: cl_int = -11;
pub const CL_INVALID_VALUE: cl_int = -30;
pub const CL_INVALID_DEVICE_TYPE: cl_int = -31;
pub const CL_INVALID_PLATFORM: cl_int = -32;
pub const CL_INVALID_DEVICE: cl_int = -33;
pub const CL_INVALID_CONTEXT: cl_int = -34;
pub const CL_INVALID_COMMAND_QUEUE: cl_int = -36;
pub const CL_INVALID_HOST_PTR: cl_int = -37;
pub const CL_INVALID_MEM_OBJECT: cl_int = -38;
pub const CL_INVALID_SAMPLER: cl_int = -41;
pub const CL_INVALID_BINARY: cl_int = -42;
pub const CL_INVALID_PROGRAM: cl_int = -44;
pub const CL_INVALID_KERNEL: cl_int = -48;
pub const CL_INVALID_ARG_INDEX: cl_int = -49;
pub const CL_INVALID_ARG_VALUE: cl_int = -50;
pub const CL_INVALID_ARG_SIZE: cl_int = -51;
pub const CL_INVALID_WORK_DIMENSION: cl_int = -53;
pub const CL_INVALID_EVENT_WAIT_LIST: cl_int = -57;
pub const CL_INVALID_EVENT: cl_int = -58;
pub const CL_INVALID_OPERATION: cl_int = -59;
pub const CL_INVALID_BUFFER_SIZE: cl_int = -61;
pub const CL_INVALID_GLOBAL_WORK_SIZE: cl_int = -63;
pub const CL_INVALID_PROPERTY: cl_int = -64;
pub const CL_PLATFORM_NOT_FOUND_KHR: cl_int = -1001;

// Bit fields.
pub const CL_DEVICE_TYPE_DEFAULT: cl_bitfield = 1 << 0;
pub const CL_EXEC_KERNEL: cl_bitfield = 1 << 0;
pub const CL_MAP_READ: cl_bitfield = 1 << 0;
pub const CL_MEM_READ_WRITE: cl_bitfield = 1 << 0;
pub const CL_MIGRATE_MEM_OBJECT_HOST: cl_bitfield = 1 << 0;
pub const CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE: cl_bitfield = 1 << 0;
pub const CL_DEVICE_TYPE_CPU: cl_bitfield = 1 << 1;
pub const CL_MAP_WRITE: cl_bitfield = 1 << 1;
pub const CL_MEM_WRITE_ONLY: cl_bitfield = 1 << 1;
pub const CL_MIGRATE_MEM_OBJECT_CONTENT_UNDEFINED: cl_bitfield = 1 << 1;
pub const CL_QUEUE_PROFILING_ENABLE: cl_bitfield = 1 << 1;
pub const CL_DEVICE_TYPE_GPU: cl_bitfield = 1 << 2;
pub const CL_MAP_WRITE_INVALIDATE_REGION: cl_bitfield = 1 << 2;
pub const CL_MEM_READ_ONLY: cl_bitfield = 1 << 2;
pub const CL_DEVICE_TYPE_ACCELERATOR: cl_bitfield = 1 << 3;
pub const CL_MEM_USE_HOST_PTR: cl_bitfield = 1 << 3;
pub const CL_DEVICE_TYPE_CUSTOM: cl_bitfield = 1 << 4;
pub const CL_MEM_ALLOC_HOST_PTR: cl_bitfield = 1 << 4;
pub const CL_MEM_COPY_HOST_PTR: cl_bitfield = 1 << 5;
pub const CL_MEM_HOST_WRITE_ONLY: cl_bitfield = 1 << 7;
pub const CL_MEM_HOST_READ_ONLY: cl_bitfield = 1 << 8;
pub const CL_MEM_HOST_NO_ACCESS: cl_bitfield = 1 << 9;
pub const CL_DEVICE_TYPE_ALL: cl_bitfield = 0xffffffff;

// Names of queries, kinds and choices.
pub const CL_FALSE: cl_uint = 0;
pub const CL_ICDL_NAME: cl_uint = 3;
pub const CL_PLATFORM_PROFILE: cl_uint = 0x900;
pub const CL_PLATFORM_VERSION: cl_uint = 0x901;
pub const CL_PLATFORM_NAME: cl_uint = 0x902;
pub const CL_PLATFORM_VENDOR: cl_uint = 0x903;
pub const CL_PLATFORM_EXTENSIONS: cl_uint = 0x904;
pub const CL_PLATFORM_ICD_SUFFIX_KHR: cl_uint = 0x920;
pub const CL_DEVICE_TYPE: cl_uint = 0x1000;
pub const CL_DEVICE_MAX_CLOCK_FREQUENCY: cl_uint = 0x100c;
pub const CL_DEVICE_IMAGE_SUPPORT: cl_uint = 0x1016;
pub const CL_DEVICE_EXECUTION_CAPABILITIES: cl_uint = 0x1029;
pub const CL_DEVICE_NAME: cl_uint = 0x102b;
pub const CL_DRIVER_VERSION: cl_uint = 0x102d;
pub const CL_DEVICE_VERSION: cl_uint = 0x102f;
pub const CL_DEVICE_EXTENSIONS: cl_uint = 0x1030;
pub const CL_DEVICE_PLATFORM: cl_uint = 0x1031;
pub const CL_DEVICE_HOST_UNIFIED_MEMORY: cl_uint = 0x1035;
pub const CL_DEVICE_OPENCL_C_VERSION: cl_uint = 0x103d;
pub const CL_DEVICE_LINKER_AVAILABLE: cl_uint = 0x103e;
pub const CL_DEVICE_PARENT_DEVICE: cl_uint = 0x1042;
pub const CL_DEVICE_PARTITION_MAX_SUB_DEVICES: cl_uint = 0x1043;
pub const CL_DEVICE_PARTITION_PROPERTIES: cl_uint = 0x1044;
pub const CL_DEVICE_PARTITION_AFFINITY_DOMAIN: cl_uint = 0x1045;
pub const CL_DEVICE_PARTITION_TYPE: cl_uint = 0x1046;
pub const CL_DEVICE_PRINTF_BUFFER_SIZE: cl_uint = 0x1049;
pub const CL_CONTEXT_REFERENCE_COUNT: cl_uint = 0x1080;
pub const CL_CONTEXT_DEVICES: cl_uint = 0x1081;
pub const CL_CONTEXT_PROPERTIES: cl_uint = 0x1082;
pub const CL_CONTEXT_NUM_DEVICES: cl_uint = 0x1083;
pub const CL_QUEUE_CONTEXT: cl_uint = 0x1090;
pub const CL_QUEUE_DEVICE: cl_uint = 0x1091;
pub const CL_QUEUE_REFERENCE_COUNT: cl_uint = 0x1092;
pub const CL_MEM_TYPE: cl_uint = 0x1100;
pub const CL_MEM_FLAGS: cl_uint = 0x1101;
pub const CL_MEM_SIZE: cl_uint = 0x1102;
pub const CL_MEM_HOST_PTR: cl_uint = 0x1103;
pub const CL_MEM_MAP_COUNT: cl_uint = 0x1104;
pub const CL_MEM_REFERENCE_COUNT: cl_uint = 0x1105;
pub const CL_MEM_CONTEXT: cl_uint = 0x1106;
pub const CL_MEM_ASSOCIATED_MEMOBJECT: cl_uint = 0x1107;
pub const CL_MEM_OFFSET: cl_uint = 0x1108;
pub const CL_SAMPLER_REFERENCE_COUNT: cl_uint = 0x1150;
pub const CL_SAMPLER_CONTEXT: cl_uint = 0x1151;
pub const CL_PROGRAM_REFERENCE_COUNT: cl_uint = 0x1160;
pub const CL_PROGRAM_CONTEXT: cl_uint = 0x1161;
pub const CL_PROGRAM_DEVICES: cl_uint = 0x1163;
pub const CL_PROGRAM_BINARY_SIZES: cl_uint = 0x1165;
pub const CL_PROGRAM_BINARIES: cl_uint = 0x1166;
pub const CL_PROGRAM_KERNEL_NAMES: cl_uint = 0x1168;
pub const CL_PROGRAM_BUILD_OPTIONS: cl_uint = 0x1182;
pub const CL_KERNEL_NUM_ARGS: cl_uint = 0x1191;
pub const CL_KERNEL_REFERENCE_COUNT: cl_uint = 0x1192;
pub const CL_KERNEL_CONTEXT: cl_uint = 0x1193;
pub const CL_KERNEL_PROGRAM: cl_uint = 0x1194;
pub const CL_KERNEL_ARG_ADDRESS_QUALIFIER: cl_uint = 0x1196;
pub const CL_KERNEL_ARG_TYPE_NAME: cl_uint = 0x1198;
pub const CL_KERNEL_ARG_ADDRESS_GLOBAL: cl_uint = 0x119b;
pub const CL_KERNEL_ARG_ADDRESS_LOCAL: cl_uint = 0x119c;
pub const CL_KERNEL_ARG_ADDRESS_CONSTANT: cl_uint = 0x119d;
pub const CL_KERNEL_ARG_ADDRESS_PRIVATE: cl_uint = 0x119e;
pub const CL_EVENT_COMMAND_QUEUE: cl_uint = 0x11d0;
pub const CL_EVENT_COMMAND_TYPE: cl_uint = 0x11d1;
pub const CL_EVENT_REFERENCE_COUNT: cl_uint = 0x11d2;
pub const CL_EVENT_COMMAND_EXECUTION_STATUS: cl_uint = 0x11d3;
pub const CL_EVENT_CONTEXT: cl_uint = 0x11d4;
pub const CL_COMMAND_MAP_BUFFER: cl_uint = 0x11fb;
pub const CL_COMMAND_UNMAP_MEM_OBJECT: cl_uint = 0x11fd;
pub const CL_BUFFER_CREATE_TYPE_REGION: cl_uint = 0x1220;

// Properties of contexts.
pub const CL_CONTEXT_PLATFORM: cl_context_properties = 0x1084;
pub const CL_CONTEXT_INTEROP_USER_SYNC: cl_context_properties = 0x1085;
