// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * A vendor's library of OpenCL 2.1: another one that says so of its platforms and devices, that
 * has functions for those who do not look, which must not be called, and formats of its own.
 */
#define _GNU_SOURCE
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* In "OpenCL 3.0 ..." puts 2.1. */
static void edit(cl_int status, char *value)
{
	if (status == CL_SUCCESS && value != NULL)
		memcpy(value + strlen("OpenCL "), "2.1", 3);
}

cl_int clGetPlatformInfo(cl_platform_id platform, cl_platform_info name, size_t size, void *value,
			 size_t *filled)
{
	cl_int (*next)(cl_platform_id, cl_platform_info, size_t, void *, size_t *) =
		dlsym(RTLD_NEXT, "clGetPlatformInfo");
	cl_int status = next(platform, name, size, value, filled);

	if (name == CL_PLATFORM_VERSION)
		edit(status, value);
	return status;
}

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info name, size_t size, void *value,
		       size_t *filled)
{
	cl_int (*next)(cl_device_id, cl_device_info, size_t, void *, size_t *) =
		dlsym(RTLD_NEXT, "clGetDeviceInfo");
	cl_int status = next(device, name, size, value, filled);

	if (name == CL_DEVICE_VERSION)
		edit(status, value);
	return status;
}

/* Lists a format of its own first. */
cl_int clGetSupportedImageFormats(cl_context context, cl_mem_flags flags, cl_mem_object_type type,
				  cl_uint max, cl_image_format *list, cl_uint *count)
{
	cl_int (*next)(cl_context, cl_mem_flags, cl_mem_object_type, cl_uint, cl_image_format *,
		       cl_uint *) = dlsym(RTLD_NEXT, "clGetSupportedImageFormats");
	cl_int status;

	if (list != NULL && max > 0) {
		list->image_channel_order = 0x40000000;
		list->image_channel_data_type = CL_FLOAT;
		list++;
		max--;
	}
	status = next(context, flags, type, max, max > 0 ? list : NULL, count);
	if (status == CL_SUCCESS && count != NULL)
		++*count;
	return status;
}

cl_kernel clCloneKernel(cl_kernel kernel, cl_int *errcode_ret)
{
	abort();
}

cl_program clCreateProgramWithIL(cl_context context, const void *il, size_t length,
				 cl_int *errcode_ret)
{
	abort();
}

cl_int clSetProgramSpecializationConstant(cl_program program, cl_uint id, size_t size,
					  const void *value)
{
	abort();
}

cl_int clGetKernelSubGroupInfo(cl_kernel kernel, cl_device_id device, cl_kernel_sub_group_info name,
			       size_t input_size, const void *input, size_t size, void *value,
			       size_t *filled)
{
	abort();
}

cl_int clGetHostTimer(cl_device_id device, cl_ulong *host)
{
	abort();
}

cl_int clGetDeviceAndHostTimer(cl_device_id device, cl_ulong *on_device, cl_ulong *host)
{
	abort();
}
