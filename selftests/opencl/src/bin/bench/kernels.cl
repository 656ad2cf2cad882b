// SPDX-License-Identifier: Apache-2.0 OR MIT
// An addition, and the step of training that step.rs makes of the others: one kernel a launch, as frameworks that fuse
// little have it. Every matrix is stored by rows.

#define INPUTS 784
#define HIDDEN 32
#define OUTPUTS 10
#define BATCH 32

__kernel void vadd(__global float *c, __global const float *a, __global const float *b, uint n)
{
	size_t i = get_global_id(0);

	if (i < n)
		c[i] = a[i] + b[i];
}

__kernel void hidden(__global float *h, __global const float *x, __global const float *w1)
{
	size_t i = get_global_id(0), row = i / HIDDEN, column = i % HIDDEN;
	float sum = 0.0f;

	for (uint k = 0; k < INPUTS; k++)
		sum += x[row * INPUTS + k] * w1[k * HIDDEN + column];
	h[i] = sum;
}

__kernel void bias_relu(__global float *a, __global const float *h, __global const float *b1)
{
	size_t i = get_global_id(0);

	a[i] = fmax(h[i] + b1[i % HIDDEN], 0.0f);
}

__kernel void output(__global float *z, __global const float *a, __global const float *w2)
{
	size_t i = get_global_id(0), row = i / OUTPUTS, column = i % OUTPUTS;
	float sum = 0.0f;

	for (uint k = 0; k < HIDDEN; k++)
		sum += a[row * HIDDEN + k] * w2[k * OUTPUTS + column];
	z[i] = sum;
}

__kernel void bias(__global float *y, __global const float *z, __global const float *b2)
{
	size_t i = get_global_id(0);

	y[i] = z[i] + b2[i % OUTPUTS];
}

__kernel void row_max(__global float *m, __global const float *y)
{
	size_t row = get_global_id(0);
	float most = y[row * OUTPUTS];

	for (uint k = 1; k < OUTPUTS; k++)
		most = fmax(most, y[row * OUTPUTS + k]);
	m[row] = most;
}

__kernel void exponent(__global float *e, __global const float *y, __global const float *m)
{
	size_t i = get_global_id(0);

	e[i] = exp(y[i] - m[i / OUTPUTS]);
}

__kernel void row_sum(__global float *s, __global const float *e)
{
	size_t row = get_global_id(0);
	float sum = 0.0f;

	for (uint k = 0; k < OUTPUTS; k++)
		sum += e[row * OUTPUTS + k];
	s[row] = sum;
}

// Of one work-item: the mean of all rows.
__kernel void loss(__global float *l, __global const float *y, __global const float *m,
		   __global const float *s, __global const uint *labels)
{
	float sum = 0.0f;

	for (uint row = 0; row < BATCH; row++)
		sum += log(s[row]) + m[row] - y[row * OUTPUTS + labels[row]];
	*l = sum / BATCH;
}

__kernel void output_gradient(__global float *dy, __global const float *e,
			      __global const float *s, __global const uint *labels, float scale)
{
	size_t i = get_global_id(0), row = i / OUTPUTS;
	float expected = i % OUTPUTS == labels[row] ? 1.0f : 0.0f;

	dy[i] = (e[i] / s[row] - expected) * scale;
}

__kernel void w2_gradient(__global float *dw2, __global const float *a, __global const float *dy)
{
	size_t i = get_global_id(0), row = i / OUTPUTS, column = i % OUTPUTS;
	float sum = 0.0f;

	for (uint k = 0; k < BATCH; k++)
		sum += a[k * HIDDEN + row] * dy[k * OUTPUTS + column];
	dw2[i] = sum;
}

__kernel void sum_columns(__global float *sums, __global const float *from, uint columns)
{
	size_t column = get_global_id(0);
	float sum = 0.0f;

	for (uint k = 0; k < BATCH; k++)
		sum += from[k * columns + column];
	sums[column] = sum;
}

__kernel void hidden_gradient(__global float *da, __global const float *dy,
			      __global const float *w2)
{
	size_t i = get_global_id(0), row = i / HIDDEN, column = i % HIDDEN;
	float sum = 0.0f;

	for (uint k = 0; k < OUTPUTS; k++)
		sum += dy[row * OUTPUTS + k] * w2[column * OUTPUTS + k];
	da[i] = sum;
}

__kernel void relu_gradient(__global float *dh, __global const float *da, __global const float *a)
{
	size_t i = get_global_id(0);

	dh[i] = a[i] > 0.0f ? da[i] : 0.0f;
}

__kernel void w1_gradient(__global float *dw1, __global const float *x, __global const float *dh)
{
	size_t i = get_global_id(0), row = i / HIDDEN, column = i % HIDDEN;
	float sum = 0.0f;

	for (uint k = 0; k < BATCH; k++)
		sum += x[k * INPUTS + row] * dh[k * HIDDEN + column];
	dw1[i] = sum;
}

__kernel void momentum(__global float *w, __global float *v, __global const float *dw, float rate,
		       float decay)
{
	size_t i = get_global_id(0);

	v[i] = v[i] * decay + dw[i];
	w[i] -= v[i] * rate;
}
