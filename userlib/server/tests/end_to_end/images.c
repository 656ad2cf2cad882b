// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Images of every type: making, asking, moving, mapping and using them, and what
 * is refused. It prints what it sees, which is the same with the vendor's own
 * library; what the vendor's leaves unchecked is not asked of it.
 */
#include "program.h"

#include <stdbool.h>

#define BYTES (1 << 16)

static unsigned char data[BYTES], back[BYTES];
/* On the vendor's own library. */
static bool native;

static const cl_image_format rgba8 = { CL_RGBA, CL_UNSIGNED_INT8 };
static const cl_image_format rgbaf = { CL_RGBA, CL_FLOAT };

static const size_t zero[3] = { 0, 0, 0 };

static unsigned sum(const void *bytes, size_t len)
{
	const unsigned char *at = bytes;
	unsigned hash = 2166136261u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ at[i]) * 16777619u;
	return hash;
}

static void clear(void)
{
	memset(back, 0xee, sizeof(back));
}

static void show(const char *what)
{
	printf("%s: %08x\n", what, sum(back, sizeof(back)));
}

static cl_mem create(cl_mem_flags flags, const cl_image_format *format, cl_image_desc desc,
		     void *host_ptr)
{
	cl_int err;
	cl_mem image = clCreateImage(context, flags, format, &desc, host_ptr, &err);

	OK(err);
	if (!image)
		exit(5);
	return image;
}

static const struct kind {
	const char *name;
	cl_image_desc desc;
	size_t origin[3], region[3];
} kinds[] = {
	{ "1D", { .image_type = CL_MEM_OBJECT_IMAGE1D, .image_width = 19 }, { 3, 0, 0 }, { 11, 1, 1 } },
	{ "1D array",
	  { .image_type = CL_MEM_OBJECT_IMAGE1D_ARRAY, .image_width = 19, .image_array_size = 5 },
	  { 3, 1, 0 },
	  { 11, 3, 1 } },
	{ "2D",
	  { .image_type = CL_MEM_OBJECT_IMAGE2D, .image_width = 19, .image_height = 7 },
	  { 3, 2, 0 },
	  { 11, 4, 1 } },
	{ "2D array",
	  { .image_type = CL_MEM_OBJECT_IMAGE2D_ARRAY,
	    .image_width = 19,
	    .image_height = 7,
	    .image_array_size = 4 },
	  { 3, 2, 1 },
	  { 11, 4, 2 } },
	{ "3D",
	  { .image_type = CL_MEM_OBJECT_IMAGE3D,
	    .image_width = 19,
	    .image_height = 7,
	    .image_depth = 4 },
	  { 3, 2, 1 },
	  { 11, 4, 2 } },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void describe(cl_mem image)
{
	static const cl_image_info sizes[] = { CL_IMAGE_ELEMENT_SIZE, CL_IMAGE_ROW_PITCH,
					       CL_IMAGE_SLICE_PITCH,  CL_IMAGE_WIDTH,
					       CL_IMAGE_HEIGHT,       CL_IMAGE_DEPTH,
					       CL_IMAGE_ARRAY_SIZE };
	cl_image_format format;
	cl_mem_object_type type;
	cl_context its_context;
	cl_mem buffer = image;
	cl_mem_flags flags;
	cl_uint levels, samples;
	size_t value, len;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		OK(clGetImageInfo(image, sizes[i], 0, NULL, &len));
		EXPECT(len == sizeof(value));
		OK(clGetImageInfo(image, sizes[i], sizeof(value), &value, NULL));
		printf(" %zu", value);
	}
	OK(clGetImageInfo(image, CL_IMAGE_FORMAT, sizeof(format), &format, NULL));
	OK(clGetImageInfo(image, CL_IMAGE_BUFFER, sizeof(buffer), &buffer, NULL));
	OK(clGetImageInfo(image, CL_IMAGE_NUM_MIP_LEVELS, sizeof(levels), &levels, NULL));
	OK(clGetImageInfo(image, CL_IMAGE_NUM_SAMPLES, sizeof(samples), &samples, NULL));
	OK(clGetMemObjectInfo(image, CL_MEM_TYPE, sizeof(type), &type, NULL));
	OK(clGetMemObjectInfo(image, CL_MEM_SIZE, sizeof(value), &value, NULL));
	OK(clGetMemObjectInfo(image, CL_MEM_FLAGS, sizeof(flags), &flags, NULL));
	OK(clGetMemObjectInfo(image, CL_MEM_CONTEXT, sizeof(its_context), &its_context, NULL));
	EXPECT(its_context == context);
	printf(" format %x %x type %x size %zu flags %x buffer %d mip %u samples %u\n",
	       format.image_channel_order, format.image_channel_data_type, type, value,
	       (unsigned)flags, buffer != NULL, levels, samples);
	STATUS(clGetImageInfo(image, CL_IMAGE_WIDTH, 1, &value, NULL), CL_INVALID_VALUE);
	STATUS(clGetImageInfo(image, CL_MEM_SIZE, sizeof(value), &value, NULL), CL_INVALID_VALUE);
}

/* Writes a part with pitches of its own, reads the part and the whole. */
static void moves(const struct kind *kind, cl_mem image, size_t element)
{
	const cl_image_desc *desc = &kind->desc;
	const bool slices = kind->region[2] > 1;
	const size_t row = kind->region[0] * element + 2 * element;
	const size_t slice = slices ? row * (kind->region[1] + 1) : 0;
	const size_t whole[3] = {
		desc->image_width,
		desc->image_type == CL_MEM_OBJECT_IMAGE1D_ARRAY ? desc->image_array_size :
		desc->image_height				? desc->image_height :
								  1,
		desc->image_type == CL_MEM_OBJECT_IMAGE2D_ARRAY ? desc->image_array_size :
		desc->image_depth				? desc->image_depth :
								  1,
	};
	cl_event events[3];
	cl_int type;

	for (cl_bool blocking = CL_FALSE; blocking <= CL_TRUE; blocking++) {
		OK(clEnqueueWriteImage(queue, image, blocking, kind->origin, kind->region, row, slice,
				       data + 7 + blocking, 0, NULL, &events[0]));
		clear();
		OK(clEnqueueReadImage(queue, image, blocking, kind->origin, kind->region, row, slice,
				      back, 1, events, &events[1]));
		if (!blocking)
			OK(clWaitForEvents(1, &events[1]));
		show(kind->name);
		clear();
		OK(clEnqueueReadImage(queue, image, blocking, zero, whole, 0, 0, back, 1, &events[1],
				      &events[2]));
		OK(clFinish(queue));
		show("  whole");
		OK(clGetEventInfo(events[0], CL_EVENT_COMMAND_TYPE, sizeof(type), &type, NULL));
		EXPECT(type == CL_COMMAND_WRITE_IMAGE);
		OK(clGetEventInfo(events[1], CL_EVENT_COMMAND_TYPE, sizeof(type), &type, NULL));
		EXPECT(type == CL_COMMAND_READ_IMAGE);
		for (int i = 0; i < 3; i++)
			OK(clReleaseEvent(events[i]));
	}
}

/* The mapped region, row by row: where it lies is the library's affair. */
static void show_mapped(const char *what, const unsigned char *at, const size_t *region,
			size_t element, size_t row, size_t slice)
{
	clear();
	for (size_t z = 0; z < region[2]; z++)
		for (size_t y = 0; y < region[1]; y++)
			memcpy(back + (z * region[1] + y) * region[0] * element,
			       at + z * slice + y * row, region[0] * element);
	show(what);
}

static void maps(const struct kind *kind, cl_mem image, size_t element)
{
	size_t row = 0, slice = 77;
	unsigned char *at, *again;
	cl_uint count;
	cl_event event;
	cl_int err, type;

	at = clEnqueueMapImage(queue, image, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, kind->origin,
			       kind->region, &row, &slice, 0, NULL, &event, &err);
	OK(err);
	EXPECT(row >= kind->region[0] * element);
	EXPECT(kind->region[2] == 1 || slice >= row * kind->region[1]);
	show_mapped("  mapped", at, kind->region, element, row, slice);
	OK(clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof(type), &type, NULL));
	EXPECT(type == CL_COMMAND_MAP_IMAGE);
	OK(clReleaseEvent(event));
	/* For reading, twice at once. */
	again = clEnqueueMapImage(queue, image, CL_TRUE, CL_MAP_READ, kind->origin, kind->region, &row,
				  &slice, 0, NULL, NULL, &err);
	OK(err);
	OK(clGetMemObjectInfo(image, CL_MEM_MAP_COUNT, sizeof(count), &count, NULL));
	EXPECT(count == 2);
	OK(clEnqueueUnmapMemObject(queue, image, again, 0, NULL, NULL));
	for (size_t i = 0; i < kind->region[0] * element; i++)
		at[i] = (unsigned char)(i * 5);
	OK(clEnqueueUnmapMemObject(queue, image, at, 0, NULL, &event));
	OK(clWaitForEvents(1, &event));
	OK(clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof(type), &type, NULL));
	EXPECT(type == CL_COMMAND_UNMAP_MEM_OBJECT);
	OK(clReleaseEvent(event));

	at = clEnqueueMapImage(queue, image, CL_FALSE, CL_MAP_READ, kind->origin, kind->region, &row,
			       &slice, 0, NULL, &event, &err);
	OK(err);
	OK(clWaitForEvents(1, &event));
	show_mapped("  mapped again", at, kind->region, element, row, slice);
	OK(clReleaseEvent(event));
	OK(clEnqueueUnmapMemObject(queue, image, at, 0, NULL, NULL));
	OK(clFinish(queue));
	OK(clGetMemObjectInfo(image, CL_MEM_MAP_COUNT, sizeof(count), &count, NULL));
	EXPECT(count == 0);
}

static void fills(const struct kind *kind, cl_mem image)
{
	const cl_uint color[4] = { 1, 200, 3, 4 };
	cl_event event;
	cl_int type;

	OK(clEnqueueFillImage(queue, image, color, kind->origin, kind->region, 0, NULL, &event));
	clear();
	OK(clEnqueueReadImage(queue, image, CL_TRUE, kind->origin, kind->region, 0, 0, back, 1, &event,
			      NULL));
	show("  filled");
	OK(clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof(type), &type, NULL));
	EXPECT(type == CL_COMMAND_FILL_IMAGE);
	OK(clReleaseEvent(event));
}

static void copies(const struct kind *kind, cl_mem image)
{
	cl_int err;
	cl_mem other = create(CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, &rgba8, kind->desc, data + 64);
	cl_mem buffer = clCreateBuffer(context, CL_MEM_COPY_HOST_PTR, 4096, data, &err);

	OK(err);
	OK(clEnqueueCopyImage(queue, image, other, kind->origin, zero, kind->region, 0, NULL, NULL));
	clear();
	OK(clEnqueueReadImage(queue, other, CL_TRUE, zero, kind->region, 0, 0, back, 0, NULL, NULL));
	show("  copied");
	STATUS(clEnqueueCopyImage(queue, image, image, kind->origin, kind->origin, kind->region, 0,
				  NULL, NULL),
	       CL_MEM_COPY_OVERLAP);
	OK(clEnqueueCopyImageToBuffer(queue, image, buffer, kind->origin, kind->region, 36, 0, NULL,
				      NULL));
	clear();
	OK(clEnqueueReadBuffer(queue, buffer, CL_TRUE, 0, 4096, back, 0, NULL, NULL));
	show("  to a buffer");
	OK(clEnqueueCopyBufferToImage(queue, buffer, other, 12, kind->origin, kind->region, 0, NULL,
				      NULL));
	clear();
	OK(clEnqueueReadImage(queue, other, CL_TRUE, kind->origin, kind->region, 0, 0, back, 0, NULL,
			      NULL));
	show("  from a buffer");
	STATUS(clEnqueueCopyImageToBuffer(queue, image, buffer, kind->origin, kind->region, 4090, 0,
					  NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueCopyImageToBuffer(queue, image, image, kind->origin, kind->region, 0, 0, NULL,
					  NULL),
	       CL_INVALID_MEM_OBJECT);
	OK(clReleaseMemObject(other));
	OK(clReleaseMemObject(buffer));
}

static void every_kind(void)
{
	for (size_t i = 0; i < KINDS; i++) {
		cl_mem image = create(CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, &rgba8, kinds[i].desc,
				      data);

		describe(image);
		moves(&kinds[i], image, 4);
		maps(&kinds[i], image, 4);
		fills(&kinds[i], image);
		copies(&kinds[i], image);
		OK(clReleaseMemObject(image));
		image = create(CL_MEM_ALLOC_HOST_PTR | CL_MEM_COPY_HOST_PTR, &rgbaf, kinds[i].desc, data);
		describe(image);
		moves(&kinds[i], image, 16);
		OK(clReleaseMemObject(image));
	}
}

/* An image that begins with memory of the program that has pitches of its own. */
static void host_memory(void)
{
	static unsigned char host[BYTES];
	const size_t origin[3] = { 2, 1, 1 }, region[3] = { 5, 3, 2 };
	cl_image_desc desc = { .image_type = CL_MEM_OBJECT_IMAGE3D,
			       .image_width = 19,
			       .image_height = 7,
			       .image_depth = 4,
			       .image_row_pitch = 96,
			       .image_slice_pitch = 96 * 9 };
	const cl_uint color[4] = { 9, 8, 7, 6 };
	size_t row, slice;
	unsigned char *at;
	void *pointer;
	cl_mem image;
	cl_int err;

	memcpy(host, data, sizeof(host));
	image = create(CL_MEM_COPY_HOST_PTR, &rgba8, desc, host);
	memset(host, 0, 96);
	clear();
	OK(clEnqueueReadImage(queue, image, CL_TRUE, origin, region, 0, 0, back, 0, NULL, NULL));
	show("copied memory");
	OK(clGetMemObjectInfo(image, CL_MEM_HOST_PTR, sizeof(pointer), &pointer, NULL));
	EXPECT(pointer == NULL);
	OK(clGetImageInfo(image, CL_IMAGE_ROW_PITCH, sizeof(row), &row, NULL));
	OK(clGetImageInfo(image, CL_IMAGE_SLICE_PITCH, sizeof(slice), &slice, NULL));
	printf("pitches %zu %zu\n", row, slice);
	OK(clReleaseMemObject(image));

	memcpy(host, data, sizeof(host));
	image = create(CL_MEM_USE_HOST_PTR, &rgba8, desc, host);
	describe(image);
	OK(clGetMemObjectInfo(image, CL_MEM_HOST_PTR, sizeof(pointer), &pointer, NULL));
	EXPECT(pointer == host);
	OK(clEnqueueFillImage(queue, image, color, origin, region, 0, NULL, NULL));
	at = clEnqueueMapImage(queue, image, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, origin, region, &row,
			       &slice, 0, NULL, NULL, &err);
	OK(err);
	EXPECT(at == host + 96 * 9 + 96 + 8 && row == 96 && slice == 96 * 9);
	printf("host memory: %08x\n", sum(host, sizeof(host)));
	at[96 + 4] = 123;
	OK(clEnqueueUnmapMemObject(queue, image, at, 0, NULL, NULL));
	clear();
	OK(clEnqueueReadImage(queue, image, CL_TRUE, origin, region, 0, 0, back, 0, NULL, NULL));
	show("used memory");
	OK(clReleaseMemObject(image));
}

static void in_buffers(void)
{
	const size_t origin[3] = { 4, 0, 0 }, region[3] = { 20, 1, 1 };
	const cl_uint color[4] = { 5, 6, 7, 8 };
	cl_image_desc desc = { .image_type = CL_MEM_OBJECT_IMAGE1D_BUFFER, .image_width = 100 };
	cl_image_desc wide = { .image_type = CL_MEM_OBJECT_IMAGE1D_BUFFER, .image_width = 300 };
	const cl_context whole = context;
	const cl_command_queue first = queue;
	cl_mem buffer, image, its;
	cl_uint count;
	size_t row, slice;
	unsigned char *at;
	cl_int err;

	/* PoCL never gives such an image's reference to its context back. */
	context = clCreateContext(NULL, 1, &device, NULL, NULL, &err);
	OK(err);
	queue = clCreateCommandQueue(context, device, 0, &err);
	OK(err);
	buffer = clCreateBuffer(context, CL_MEM_COPY_HOST_PTR, 1024, data, &err);
	OK(err);
	desc.buffer = buffer;
	wide.buffer = buffer;
	image = create(CL_MEM_READ_WRITE, &rgba8, desc, NULL);
	describe(image);
	OK(clGetImageInfo(image, CL_IMAGE_BUFFER, sizeof(its), &its, NULL));
	EXPECT(its == buffer);
	OK(clGetMemObjectInfo(image, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof(its), &its, NULL));
	EXPECT(its == buffer);
	/* PoCL takes such an image for no buffer of its own commands. */
	if (!native) {
		clear();
		OK(clEnqueueWriteImage(queue, image, CL_TRUE, origin, region, 0, 0, data + 77, 0, NULL,
				       NULL));
		OK(clEnqueueReadImage(queue, image, CL_TRUE, zero, region, 0, 0, back, 0, NULL, NULL));
		EXPECT(memcmp(back, data, 16) == 0 && memcmp(back + 16, data + 77, 64) == 0);
		OK(clEnqueueReadBuffer(queue, buffer, CL_TRUE, 16, 80, back, 0, NULL, NULL));
		EXPECT(memcmp(back, data + 77, 80) == 0);
		at = clEnqueueMapImage(queue, image, CL_TRUE, CL_MAP_WRITE, origin, region, &row,
				       &slice, 0, NULL, NULL, &err);
		OK(err);
		EXPECT(memcmp(at, data + 77, 80) == 0 && row == 80 && slice == 0);
		OK(clEnqueueUnmapMemObject(queue, image, at, 0, NULL, NULL));
	}
	OK(clEnqueueFillImage(queue, image, color, zero, region, 0, NULL, NULL));
	clear();
	OK(clEnqueueReadBuffer(queue, buffer, CL_TRUE, 0, 16, back, 0, NULL, NULL));
	show("filled buffer");
	EXPECT(clCreateImage(context, 0, &rgba8, &wide, NULL, &err) == NULL);
	printf("too wide for the buffer: %d\n", err);
	/* The buffer lives as long as the image in it. */
	OK(clReleaseMemObject(buffer));
	OK(clGetMemObjectInfo(image, CL_MEM_REFERENCE_COUNT, sizeof(count), &count, NULL));
	EXPECT(count == 1);
	OK(clEnqueueFillImage(queue, image, color, zero, region, 0, NULL, NULL));
	OK(clFinish(queue));
	OK(clReleaseMemObject(image));
	OK(clReleaseCommandQueue(queue));
	OK(clReleaseContext(context));
	queue = first;
	context = whole;
}

static void older_functions(void)
{
	cl_mem image;
	cl_int err;

	image = clCreateImage2D(context, CL_MEM_COPY_HOST_PTR, &rgba8, 19, 7, 80, data, &err);
	OK(err);
	describe(image);
	OK(clReleaseMemObject(image));
	image = clCreateImage3D(context, CL_MEM_READ_ONLY, &rgbaf, 5, 4, 3, 0, 0, NULL, &err);
	OK(err);
	describe(image);
	OK(clReleaseMemObject(image));
	EXPECT(clCreateImage2D(context, 0, NULL, 19, 7, 0, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_IMAGE_FORMAT_DESCRIPTOR);
}

static void formats(void)
{
	static const cl_mem_object_type types[] = {
		CL_MEM_OBJECT_IMAGE1D,	     CL_MEM_OBJECT_IMAGE1D_ARRAY, CL_MEM_OBJECT_IMAGE2D,
		CL_MEM_OBJECT_IMAGE2D_ARRAY, CL_MEM_OBJECT_IMAGE3D,	  CL_MEM_OBJECT_IMAGE1D_BUFFER,
	};
	static cl_image_format list[256];
	const size_t whole[3] = { 3, 2, 1 };
	cl_uint count, few;
	cl_bool support;

	OK(clGetDeviceInfo(device, CL_DEVICE_IMAGE_SUPPORT, sizeof(support), &support, NULL));
	EXPECT(support == CL_TRUE);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		OK(clGetSupportedImageFormats(context, CL_MEM_READ_WRITE, types[i], 0, NULL, &count));
		OK(clGetSupportedImageFormats(context, CL_MEM_READ_WRITE, types[i], 256, list, NULL));
		printf("formats of %x: %u, %08x\n", types[i], count, sum(list, count * sizeof(*list)));
		OK(clGetSupportedImageFormats(context, CL_MEM_READ_WRITE, types[i], 1, list, &few));
		EXPECT(few == count);
	}
	STATUS(clGetSupportedImageFormats(context, 0, CL_MEM_OBJECT_BUFFER, 0, NULL, &count),
	       CL_INVALID_VALUE);
	STATUS(clGetSupportedImageFormats(context, 0, CL_MEM_OBJECT_IMAGE2D, 0, list, &count),
	       CL_INVALID_VALUE);
	/* An element of each. */
	OK(clGetSupportedImageFormats(context, CL_MEM_READ_WRITE, CL_MEM_OBJECT_IMAGE2D, 256, list,
				      &count));
	for (cl_uint i = 0; i < count; i++) {
		cl_image_desc desc = { .image_type = CL_MEM_OBJECT_IMAGE2D,
				       .image_width = 3,
				       .image_height = 2 };
		cl_mem image = create(CL_MEM_COPY_HOST_PTR, &list[i], desc, data);

		describe(image);
		clear();
		OK(clEnqueueReadImage(queue, image, CL_TRUE, zero, whole, 0, 0, back, 0, NULL, NULL));
		show("format");
		OK(clReleaseMemObject(image));
	}
}

static cl_int reads(cl_mem image, const size_t *origin, const size_t *region, void *to)
{
	return clEnqueueReadImage(queue, image, CL_TRUE, origin, region, 0, 0, to, 0, NULL, NULL);
}

static void mistakes(void)
{
	const size_t region[3] = { 19, 7, 1 }, far[3] = { 1, 0, 0 }, deep[3] = { 0, 0, 1 };
	const size_t tall[3] = { 1, 8, 1 }, huge[3] = { SIZE_MAX, 0, 0 };
	const cl_uint color[4] = { 0 };
	const cl_image_format strange = { CL_RGBA, CL_UNORM_SHORT_565 };
	cl_image_desc desc = kinds[2].desc, bad = desc;
	cl_mem image = create(0, &rgba8, desc, NULL), other = create(0, &rgbaf, desc, NULL);
	cl_mem guarded = create(CL_MEM_HOST_NO_ACCESS, &rgba8, desc, NULL), foreign, buffer;
	cl_context second;
	size_t row, slice;
	void *at;
	cl_int err;

	EXPECT(clCreateImage(NULL, 0, &rgba8, &desc, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_CONTEXT);
	EXPECT(clCreateImage(context, 0, NULL, &desc, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_IMAGE_FORMAT_DESCRIPTOR);
	EXPECT(clCreateImage(context, 0, &rgba8, NULL, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_IMAGE_DESCRIPTOR);
	EXPECT(clCreateImage(context, 0, &strange, &desc, NULL, &err) == NULL);
	printf("strange format: %d\n", err);
	EXPECT(clCreateImage(context, CL_MEM_COPY_HOST_PTR, &strange, &desc, data, &err) == NULL);
	printf("strange format: %d\n", err);
	bad.image_width = 1 << 20;
	EXPECT(clCreateImage(context, 0, &rgba8, &bad, NULL, &err) == NULL);
	printf("too wide: %d\n", err);
	bad.image_width = 0;
	EXPECT(clCreateImage(context, 0, &rgba8, &bad, NULL, &err) == NULL);
	printf("empty: %d\n", err);
	bad = desc;
	bad.image_type = 7;
	EXPECT(clCreateImage(context, 0, &rgba8, &bad, NULL, &err) == NULL);
	printf("no type: %d\n", err);
	bad = desc;
	bad.num_mip_levels = 1;
	EXPECT(clCreateImage(context, 0, &rgba8, &bad, NULL, &err) == NULL);
	printf("mip levels: %d\n", err);
	EXPECT(clCreateImage(context, CL_MEM_COPY_HOST_PTR, &rgba8, &desc, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_HOST_PTR);
	EXPECT(clCreateImage(context, 0, &rgba8, &desc, data, &err) == NULL);
	STATUS(err, CL_INVALID_HOST_PTR);
	EXPECT(clCreateImage(context, CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY, &rgba8, &desc, NULL,
			     &err) == NULL);
	STATUS(err, CL_INVALID_VALUE);

	STATUS(reads(NULL, zero, region, back), CL_INVALID_MEM_OBJECT);
	STATUS(reads(image, zero, region, NULL), CL_INVALID_VALUE);
	STATUS(reads(image, NULL, region, back), CL_INVALID_VALUE);
	STATUS(reads(image, zero, NULL, back), CL_INVALID_VALUE);
	STATUS(reads(image, far, region, back), CL_INVALID_VALUE);
	STATUS(reads(image, deep, region, back), CL_INVALID_VALUE);
	STATUS(reads(image, zero, tall, back), CL_INVALID_VALUE);
	STATUS(reads(guarded, zero, region, back), CL_INVALID_OPERATION);
	STATUS(clEnqueueWriteImage(queue, guarded, CL_TRUE, zero, region, 0, 0, back, 0, NULL, NULL),
	       CL_INVALID_OPERATION);
	STATUS(clEnqueueFillImage(queue, image, NULL, zero, region, 0, NULL, NULL), CL_INVALID_VALUE);
	STATUS(clEnqueueFillImage(queue, image, color, far, region, 0, NULL, NULL), CL_INVALID_VALUE);
	STATUS(clEnqueueFillImage(queue, image, color, zero, region, 1, NULL, NULL),
	       CL_INVALID_EVENT_WAIT_LIST);
	STATUS(clEnqueueCopyImage(queue, image, other, zero, zero, region, 0, NULL, NULL),
	       CL_IMAGE_FORMAT_MISMATCH);
	EXPECT(!clEnqueueMapImage(queue, image, CL_TRUE, CL_MAP_READ, zero, region, NULL, &slice, 0,
				  NULL, NULL, &err));
	STATUS(err, CL_INVALID_VALUE);
	EXPECT(!clEnqueueMapImage(queue, image, CL_TRUE, CL_MAP_READ, far, region, &row, &slice, 0,
				  NULL, NULL, &err));
	STATUS(err, CL_INVALID_VALUE);
	EXPECT(!clEnqueueMapImage(queue, guarded, CL_TRUE, CL_MAP_READ, zero, region, &row, &slice, 0,
				  NULL, NULL, &err));
	STATUS(err, CL_INVALID_OPERATION);
	/* Of a 2D image nobody needs to know the slice pitch. */
	at = clEnqueueMapImage(queue, image, CL_TRUE, CL_MAP_READ, zero, region, &row, NULL, 0, NULL,
			       NULL, &err);
	OK(err);
	OK(clEnqueueUnmapMemObject(queue, image, at, 0, NULL, NULL));
	STATUS(clEnqueueUnmapMemObject(queue, image, at, 0, NULL, NULL), CL_INVALID_VALUE);

	second = clCreateContext(NULL, 1, &device, NULL, NULL, &err);
	OK(err);
	foreign = clCreateImage(second, 0, &rgba8, &desc, NULL, &err);
	OK(err);
	STATUS(reads(foreign, zero, region, back), CL_INVALID_CONTEXT);
	STATUS(clEnqueueCopyImage(queue, image, foreign, zero, zero, region, 0, NULL, NULL),
	       CL_INVALID_CONTEXT);
	OK(clReleaseMemObject(foreign));
	OK(clReleaseContext(second));

	buffer = clCreateBuffer(context, 0, 4096, NULL, &err);
	OK(err);
	STATUS(reads(buffer, zero, region, back), CL_INVALID_MEM_OBJECT);
	STATUS(clEnqueueFillImage(queue, buffer, color, zero, region, 0, NULL, NULL),
	       CL_INVALID_MEM_OBJECT);
	if (!native) {
		/* What the vendor's does not check. */
		const size_t none[3] = { 19, 0, 1 };

		STATUS(reads(image, huge, region, back), CL_INVALID_VALUE);
		STATUS(reads(image, zero, none, back), CL_INVALID_VALUE);
		STATUS(clGetImageInfo(buffer, CL_IMAGE_WIDTH, sizeof(row), &row, NULL),
		       CL_INVALID_MEM_OBJECT);
		STATUS(clEnqueueReadImage(queue, image, CL_TRUE, zero, region, 75, 0, back, 0, NULL,
					  NULL),
		       CL_INVALID_VALUE);
		STATUS(clEnqueueReadBuffer(queue, image, CL_TRUE, 0, 4, back, 0, NULL, NULL),
		       CL_INVALID_MEM_OBJECT);
		bad = desc;
		bad.image_row_pitch = 72;
		EXPECT(clCreateImage(context, CL_MEM_COPY_HOST_PTR, &rgba8, &bad, data, &err) == NULL);
		STATUS(err, CL_INVALID_IMAGE_DESCRIPTOR);
		/* Is said to be absent. */
		bad = desc;
		bad.image_row_pitch = 4 * bad.image_width;
		bad.buffer = buffer;
		EXPECT(clCreateImage(context, 0, &rgba8, &bad, NULL, &err) == NULL);
		STATUS(err, CL_INVALID_OPERATION);
	}
	OK(clReleaseMemObject(buffer));
	OK(clReleaseMemObject(image));
	OK(clReleaseMemObject(other));
	OK(clReleaseMemObject(guarded));
}

static const char source[] =
	"__constant sampler_t nearest = CLK_NORMALIZED_COORDS_FALSE | CLK_ADDRESS_CLAMP |\n"
	"                               CLK_FILTER_NEAREST;\n"
	"__kernel void twice(read_only image2d_t in, sampler_t how, write_only image2d_t out)\n"
	"{ int2 at = (int2)(get_global_id(0), get_global_id(1));\n"
	"  write_imageui(out, at, read_imageui(in, how, at) + read_imageui(in, nearest, at)); }\n";

/* Images and samplers are arguments of kernels. */
static void kernels(void)
{
	const size_t region[3] = { 19, 7, 1 };
	cl_mem in = create(CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, &rgba8, kinds[2].desc, data);
	cl_mem out = create(CL_MEM_WRITE_ONLY, &rgba8, kinds[2].desc, NULL);
	cl_program program = build(source);
	cl_sampler sampler;
	cl_kernel kernel;
	cl_int err;

	sampler = clCreateSampler(context, CL_FALSE, CL_ADDRESS_CLAMP, CL_FILTER_NEAREST, &err);
	OK(err);
	kernel = clCreateKernel(program, "twice", &err);
	OK(err);
	if (!native) {
		STATUS(clSetKernelArg(kernel, 0, sizeof(sampler), &sampler), CL_INVALID_MEM_OBJECT);
		STATUS(clSetKernelArg(kernel, 1, sizeof(in), &in), CL_INVALID_SAMPLER);
	}
	OK(clSetKernelArg(kernel, 0, sizeof(in), &in));
	OK(clSetKernelArg(kernel, 1, sizeof(sampler), &sampler));
	OK(clSetKernelArg(kernel, 2, sizeof(out), &out));
	OK(clEnqueueNDRangeKernel(queue, kernel, 2, NULL, region, NULL, 0, NULL, NULL));
	clear();
	OK(reads(out, zero, region, back));
	for (int i = 0; i < 19 * 7 * 4; i++)
		if (back[i] != (data[i] > 127 ? 255 : 2 * data[i])) {
			EXPECT(!"a kernel's result");
			break;
		}
	show("twice");
	OK(clReleaseKernel(kernel));
	OK(clReleaseSampler(sampler));
	OK(clReleaseProgram(program));
	OK(clReleaseMemObject(in));
	OK(clReleaseMemObject(out));
}

/* More than a message holds, of which a part is mapped while it is read. */
static void large(void)
{
	const size_t region[3] = { 1500, 1500, 1 }, row = 1600 * 16, bytes = row * 1500;
	cl_image_desc desc = { .image_type = CL_MEM_OBJECT_IMAGE2D,
			       .image_width = 1500,
			       .image_height = 1500 };
	unsigned char *host = malloc(bytes), *at;
	cl_mem image = create(CL_MEM_READ_WRITE, &rgbaf, desc, NULL);
	size_t pitch, slice;
	cl_int err;

	for (size_t i = 0; i < bytes; i++)
		host[i] = (unsigned char)(i / 5);
	OK(clEnqueueWriteImage(queue, image, CL_FALSE, zero, region, row, 0, host, 0, NULL, NULL));
	OK(clFinish(queue));
	memset(host, 1, bytes);
	OK(clEnqueueReadImage(queue, image, CL_FALSE, zero, region, row, 0, host, 0, NULL, NULL));
	OK(clFinish(queue));
	printf("large: %08x\n", sum(host, bytes));
	at = clEnqueueMapImage(queue, image, CL_FALSE, CL_MAP_READ, zero, region, &pitch, &slice, 0,
			       NULL, NULL, &err);
	OK(err);
	OK(clEnqueueUnmapMemObject(queue, image, at, 0, NULL, NULL));
	OK(clFinish(queue));
	OK(clReleaseMemObject(image));
	free(host);
}

int main(int argc, char **argv)
{
	(void)argv;
	native = argc > 1;
	open_device();
	for (int i = 0; i < BYTES; i++)
		data[i] = (unsigned char)(i * 31 + i / 256);
	formats();
	every_kind();
	host_memory();
	in_buffers();
	older_functions();
	mistakes();
	kernels();
	large();
	OK(clReleaseCommandQueue(queue));
	OK(clReleaseContext(context));
	return finish();
}
