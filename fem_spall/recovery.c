/* What follows from a potential on tetrahedra, in double precision: conserving fluxes, material forces, sums in balls.

   The flux s of a straight-sided cell is linear and given by what flows out through its facets: t(f, v) is the area of
   facet f (opposite vertex f) times s.n at its vertex v, n outward, and the mean over its three vertices what flows out.
   At a vertex the four t(f, v) add up to zero, with f = v for the component along the missing facet, so that three of
   them, f = 1, 2, 3, are kept: (3, 4) numbers a cell.  ``geometry`` is that of kernels.c, (batches, 6, W), zero where a
   cell is curved.  ``numbers`` (cells, 4) name the vertices, alike in all cells; the three values of a facet are in
   their order. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define W 8 /* as in kernels.c */

/* Place of vertex v among the three of facet f. */
static inline int place(const int32_t *number, int f, int v)
{
    int below = 0;
    for (int w = 0; w < 4; w++) below += w != f && number[w] < number[v];
    return below;
}

/* Gradients by reference coordinate at the four vertices, of degree 2 (ten values) or 1 (four). */
static inline void slopes(int64_t k, const int32_t *at, const double *x, double g[3][4])
{
    static const int edge[4][4] = {{-1, 9, 8, 7}, {9, -1, 6, 5}, {8, 6, -1, 4}, {7, 5, 4, -1}};
    for (int i = 1; i < 4; i++)
        for (int v = 0; v < 4; v++)
            if (k == 4)
                g[i - 1][v] = x[at[i]] - x[at[0]];
            else if (v == 0)
                g[i - 1][v] = 4 * x[at[edge[0][i]]] - x[at[i]] - 3 * x[at[0]];
            else if (v == i)
                g[i - 1][v] = 3 * x[at[i]] - 4 * x[at[edge[0][i]]] + x[at[0]];
            else
                g[i - 1][v] = 4 * (x[at[edge[i][v]]] - x[at[edge[0][v]]]) - x[at[i]] + x[at[0]];
}

static const int upper[3][3] = {{0, 1, 2}, {1, 3, 4}, {2, 4, 5}};

/* Adds t of -sigma grad u to ``jump`` (facets, 3); what flows out of each cell goes to ``total``. */
void outflow(int64_t cells, int64_t k, const int32_t *unknowns, const double *geometry, const double *x,
             const int32_t *numbers, const int32_t *facets, double *restrict jump, double *restrict total)
{
    for (int64_t c = 0; c < cells; c++) {
        const double *entry = geometry + c / W * 6 * W + c % W;
        double g[3][4], t[4][4] = {{0}}, sum = 0;
        slopes(k, unknowns + k * c, x, g);
        for (int i = 0; i < 3; i++)
            for (int v = 0; v < 4; v++) {
                for (int j = 0; j < 3; j++) t[i + 1][v] += 60 * entry[W * upper[i][j]] * g[j][v];
                t[0][v] -= t[i + 1][v];
            }
        for (int f = 0; f < 4; f++)
            for (int v = 0; v < 4; v++)
                if (v != f) {
                    jump[3 * (int64_t)facets[4 * c + f] + place(numbers + 4 * c, f, v)] += t[f][v];
                    sum += t[f][v];
                }
        total[c] = sum / 3;
    }
}

/* Share of the jump of a facet, the sum of what flows out on both sides, that the mean of both takes from one of them:
   sides count by ``weight``, of all cells if ``step`` is 0, of each if it is 1; ``inverse`` is one over the sum of both,
   0 where nothing flows on the mean and negative where each side keeps its own. */
static inline double share(double weight, double inverse) { return inverse < 0 ? 0 : 1 - weight * inverse; }

/* What flows out of each cell with the mean of both sides, less than its own flux: added to ``total``. */
void imbalance(int64_t cells, const int32_t *facets, const double *jump, const double *weight, int64_t step,
               const double *inverse, double *restrict total)
{
    for (int64_t c = 0; c < cells; c++)
        for (int f = 0; f < 4; f++) {
            const int32_t facet = facets[4 * c + f];
            const double *j = jump + 3 * (int64_t)facet;
            total[c] -= share(weight[step * c], inverse[facet]) * (j[0] + j[1] + j[2]) / 3;
        }
}

/* The numbers that are kept of what flows out of a cell beyond its own flux: with the mean of both sides, ``through``
   (cells, 4) added. */
static inline void beyond(int64_t c, const int32_t *numbers, const int32_t *facets, const double part[4],
                          const double *jump, const double *through, double kept[3][4])
{
    double t[4][4];
    for (int v = 0; v < 4; v++) {
        t[v][v] = 0;
        for (int f = 0; f < 4; f++)
            if (f != v) {
                const int64_t at = 3 * (int64_t)facets[4 * c + f] + place(numbers + 4 * c, f, v);
                t[f][v] = through[4 * c + f] - part[f] * jump[at];
                t[v][v] -= t[f][v];
            }
    }
    for (int i = 0; i < 3; i++)
        for (int v = 0; v < 4; v++) kept[i][v] = t[i + 1][v];
}

static inline void shares(int64_t c, const int32_t *facets, const double *weight, int64_t step, const double *inverse,
                          double part[4])
{
    for (int f = 0; f < 4; f++) part[f] = share(weight[step * c], inverse[facets[4 * c + f]]);
}

/* That of some cells: out (n, 3, 4). */
void defects(int64_t n, const int32_t *which, const int32_t *numbers, const int32_t *facets, const double *weight,
             int64_t step, const double *inverse, const double *jump, const double *through, double *restrict out)
{
    for (int64_t k = 0; k < n; k++) {
        double part[4];
        shares(which[k], facets, weight, step, inverse, part);
        beyond(which[k], numbers, facets, part, jump, through, (double (*)[4])(out + 12 * k));
    }
}

/* Integral of s.R s' over each straight-sided cell, R the resistivity, of two of them; zero for the others. */
void defect_products(int64_t cells, const double *geometry, const int32_t *numbers, const int32_t *facets,
                     const double *weight, int64_t step, const double *inverse, const double *jump,
                     const double *through, const double *other_jump, const double *other_through,
                     double *restrict out)
{
    for (int64_t c = 0; c < cells; c++) {
        const double *e = geometry + c / W * 6 * W + c % W;
        const double g[6] = {e[0], e[W], e[2 * W], e[3 * W], e[4 * W], e[5 * W]};
        double part[4], one[3][4], other[3][4], m[3][3], sums[2][3] = {{0}};
        shares(c, facets, weight, step, inverse, part);
        beyond(c, numbers, facets, part, jump, through, one);
        beyond(c, numbers, facets, part, other_jump, other_through, other);
        for (int i = 0; i < 3; i++)
            for (int v = 0; v < 4; v++) sums[0][i] += one[i][v], sums[1][i] += other[i][v];
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) {
                m[i][j] = sums[0][i] * sums[1][j];
                for (int v = 0; v < 4; v++) m[i][j] += one[i][v] * other[j][v];
            }
        const double a = g[3] * g[5] - g[4] * g[4], b = g[2] * g[4] - g[1] * g[5], d = g[1] * g[4] - g[2] * g[3];
        const double determinant = g[0] * a + g[1] * b + g[2] * d;
        const double value = a * m[0][0] + (g[0] * g[5] - g[2] * g[2]) * m[1][1] + (g[0] * g[3] - g[1] * g[1]) * m[2][2]
                           + b * (m[0][1] + m[1][0]) + d * (m[0][2] + m[2][0])
                           + (g[1] * g[2] - g[0] * g[4]) * (m[1][2] + m[2][1]);
        out[c] = determinant > 0 ? value / (3600 * determinant) : 0;
    }
}

/* First of the m ascending keys that is not below a wanted one, looked for near ``low``. */
static int64_t first_from(int64_t m, const int64_t *keys, int64_t wanted, int64_t low)
{
    int64_t high = low, step = 1;
    while (low > 0 && keys[low - 1] >= wanted) high = low, low = low > step ? low - step : 0, step *= 2;
    step = 1;
    if (high == low) high = low < m ? low + 1 : m;
    while (high < m && keys[high - 1] < wanted) low = high, high = m - high > step ? high + step : m, step *= 2;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (keys[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Number of the points (3, m) in balls of one radius about n centres (n, 3), and the sums of their two values (2, m):
   out (n, 3).  The points are in the order of their ``keys``, the box they lie in: ((x << 20) + y << 20) + z, counted
   from 1 in boxes of a ``width`` not below the radius from ``low`` on. */
void ball_sums(int64_t n, const double *centres, int64_t m, const int64_t *keys, const double *points,
               const double *values, const double *low, double width, double radius, double *restrict out)
{
    const int64_t most = (1 << 20) - 2;
    int64_t begins[9] = {0}; /* of the lines of boxes: the next centre is mostly near this one */
    const double *px = points, *py = points + m, *pz = points + 2 * m, *first = values, *second = values + m;
    for (int64_t i = 0; i < n; i++, centres += 3) {
        const double cx = centres[0], cy = centres[1], cz = centres[2];
        int64_t box[3];
        double count = 0, one = 0, two = 0;
        for (int d = 0; d < 3; d++) {
            const double at = floor((centres[d] - low[d]) / width) + 1;
            box[d] = at < 0 ? 0 : at > (double)most ? most : (int64_t)at;
        }
        for (int64_t x = box[0] > 0 ? box[0] - 1 : 0; x <= box[0] + 1; x++)
            for (int64_t y = box[1] > 0 ? box[1] - 1 : 0; y <= box[1] + 1; y++) {
                const int64_t line = ((x << 20) + y) << 20;
                int64_t *begin = begins + 3 * (x - box[0] + 1) + y - box[1] + 1, end;
                *begin = end = first_from(m, keys, line + (box[2] > 0 ? box[2] - 1 : 0), *begin);
                while (end < m && keys[end] <= line + box[2] + 1) end++;
                _Pragma("omp simd reduction(+ : count, one, two)") for (int64_t k = *begin; k < end; k++) {
                    const double a = px[k] - cx, b = py[k] - cy, c = pz[k] - cz;
                    const double in = a * a + b * b + c * c <= radius * radius ? 1 : 0;
                    count += in, one += in * first[k], two += in * second[k];
                }
            }
        out[3 * i] = count, out[3 * i + 1] = one, out[3 * i + 2] = two;
    }
}

/* Barycentric coordinates of a pixel's centre in a triangle, each held between 0 and 1. */
static inline void barycentric(const double *points, const int64_t *face, int64_t column, int64_t row, double w[3])
{
    const double *a = points + 3 * face[0], *b = points + 3 * face[1], *c = points + 3 * face[2];
    const double x = (double)column + 0.5, y = (double)row + 0.5;
    double determinant = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
    if (determinant == 0) determinant = 1e-300;
    w[1] = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / determinant;
    w[2] = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / determinant;
    w[0] = 1 - w[1] - w[2];
    for (int k = 0; k < 3; k++) w[k] = fmin(fmax(w[k], 0), 1);
}

/* The nearest of the triangles at the centre of each pixel, -1 where there is none, and the weights of its corners:
   shown (height, width), weights (height, width, 3).  Points are columns, rows and depths; depths count from ``low``,
   larger is nearer, in steps of 1 / ``scale`` below 2^31; of two triangles in one step the later one is shown. */
void rasterise(int64_t count, const int64_t *faces, const double *points, int64_t width, int64_t height, double low,
               double high, double scale, int64_t *restrict shown, double *restrict weights)
{
    for (int64_t k = 0; k < width * height; k++) shown[k] = -1;
    for (int64_t f = 0; f < count; f++) {
        const int64_t *face = faces + 3 * f;
        const double *p[4] = {points + 3 * face[0], points + 3 * face[1], points + 3 * face[2], points + 3 * face[0]};
        const double bottom = fmin(fmin(p[0][1], p[1][1]), p[2][1]), top = fmax(fmax(p[0][1], p[1][1]), p[2][1]);
        const int64_t last = (int64_t)fmin(fmax(floor(top - 0.5), -1), (double)height - 1);
        for (int64_t row = (int64_t)fmin(fmax(ceil(bottom - 0.5), 0), (double)height); row <= last; row++) {
            double left = INFINITY, right = -INFINITY;
            for (int k = 0; k < 3; k++) {
                const double t = ((double)row + 0.5 - p[k][1]) / (p[k + 1][1] - p[k][1]);
                if (!(t >= 0 && t <= 1)) continue;
                const double crossing = p[k][0] + t * (p[k + 1][0] - p[k][0]);
                left = fmin(left, crossing), right = fmax(right, crossing);
            }
            if (!(left <= right)) continue;
            const int64_t end = (int64_t)fmin(fmax(floor(right - 0.5), -1), (double)width - 1);
            for (int64_t column = (int64_t)fmin(fmax(ceil(left - 0.5), 0), (double)width); column <= end; column++) {
                double w[3];
                barycentric(points, face, column, row, w);
                const double z = fmin(fmax(w[0] * p[0][2] + w[1] * p[1][2] + w[2] * p[2][2], low), high);
                const int64_t code = ((int64_t)((z - low) * scale) << 32) | f;
                if (code > shown[row * width + column]) shown[row * width + column] = code;
            }
        }
    }
    for (int64_t k = 0; k < width * height; k++) {
        double *w = weights + 3 * k;
        w[0] = w[1] = w[2] = 0;
        if (shown[k] < 0) continue;
        shown[k] &= 0xffffffff;
        barycentric(points, faces + 3 * shown[k], k % width, k / width, w);
    }
}
