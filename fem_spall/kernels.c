/* Matrix-free stiffness of quadratic elements on tetrahedra, and the vector updates of the solver.

   Compiled once for double and once for float (REAL).  Cells come in batches of W, one SIMD lane each.  On a
   straight-sided cell a gradient of degree 1 is given by its values at the four vertices, and six numbers G, the
   conductivity in reference coordinates over 120 times the volume factor, are all that the geometry amounts to:
   with m(v) = g(v) + sum of g over the vertices, the flux is f(v) = G m(v), and the residual its transpose.
   Unknowns are numbered as basix does: vertices 0 1 2 3, edges 23 13 12 03 02 01. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define W 8 /* for float as well: 16 was 5 % slower on AVX-512 */
#define LANES _Pragma("omp simd")

/* The ``size`` values of each lane; lanes beyond ``count`` are zero.  Whole vectors are put together in registers: stores
   by lane would hold up the loads that follow. */
typedef REAL lanes __attribute__((vector_size(W * sizeof(REAL)), may_alias));
static inline void gather(int count, int size, const int32_t *at, const REAL *x, REAL u[][W])
{
    for (int k = 0; k < size; k++) {
        const int32_t *a = at + k;
        if (count == W)
            *(lanes *)u[k] = (lanes){x[a[0]], x[a[size]], x[a[2 * size]], x[a[3 * size]],
                                     x[a[4 * size]], x[a[5 * size]], x[a[6 * size]], x[a[7 * size]]};
        else
            for (int l = 0; l < W; l++) u[k][l] = l < count ? x[a[l * size]] : 0;
    }
}

/* g_i(v) for i = 1, 2, 3 at v = 0..3 from the ten values of each lane. */
static inline void gradients(const REAL u[10][W], REAL g[3][4][W])
{
    static const int edge[4][4] = {{-1, 9, 8, 7}, {9, -1, 6, 5}, {8, 6, -1, 4}, {7, 5, 4, -1}};
    for (int i = 1; i < 4; i++)
        for (int v = 0; v < 4; v++) {
            REAL *out = g[i - 1][v];
            const REAL *ui = u[i], *u0 = u[0], *e0i = u[edge[0][i]];
            if (v == 0)
                LANES for (int l = 0; l < W; l++) out[l] = 4 * e0i[l] - ui[l] - 3 * u0[l];
            else if (v == i)
                LANES for (int l = 0; l < W; l++) out[l] = 3 * ui[l] - 4 * e0i[l] + u0[l];
            else {
                const REAL *eij = u[edge[i][v]], *e0j = u[edge[0][v]];
                LANES for (int l = 0; l < W; l++) out[l] = 4 * (eij[l] - e0j[l]) - ui[l] + u0[l];
            }
        }
}

/* The transpose: residuals of the ten unknowns from f_i(v). */
static inline void residuals(const REAL f[3][4][W], REAL r[10][W])
{
    static const int edge[4][4] = {{-1, 9, 8, 7}, {9, -1, 6, 5}, {8, 6, -1, 4}, {7, 5, 4, -1}};
    for (int a = 1; a < 4; a++) {
        LANES for (int l = 0; l < W; l++) {
            REAL sum = f[a - 1][0][l] + f[a - 1][1][l] + f[a - 1][2][l] + f[a - 1][3][l];
            r[a][l] = 4 * f[a - 1][a][l] - sum;
            r[edge[0][a]][l] = 4 * (f[a - 1][0][l] - (f[0][a][l] + f[1][a][l] + f[2][a][l]));
        }
        for (int b = a + 1; b < 4; b++)
            LANES for (int l = 0; l < W; l++) r[edge[a][b]][l] = 4 * (f[a - 1][b][l] + f[b - 1][a][l]);
    }
    LANES for (int l = 0; l < W; l++) {
        REAL first = f[0][0][l] + f[1][0][l] + f[2][0][l], rest = 0;
        for (int v = 1; v < 4; v++) rest += f[0][v][l] + f[1][v][l] + f[2][v][l];
        r[0][l] = rest - 3 * first;
    }
}

/* f = G m, at the vertices of each lane. */
static inline void conducted(const REAL *restrict geometry, const REAL g[3][4][W], REAL f[3][4][W])
{
    LANES for (int l = 0; l < W; l++) {
        REAL s0 = g[0][0][l] + g[0][1][l] + g[0][2][l] + g[0][3][l];
        REAL s1 = g[1][0][l] + g[1][1][l] + g[1][2][l] + g[1][3][l];
        REAL s2 = g[2][0][l] + g[2][1][l] + g[2][2][l] + g[2][3][l];
        for (int v = 0; v < 4; v++) {
            REAL m0 = s0 + g[0][v][l], m1 = s1 + g[1][v][l], m2 = s2 + g[2][v][l];
            f[0][v][l] = geometry[l] * m0 + geometry[W + l] * m1 + geometry[2 * W + l] * m2;
            f[1][v][l] = geometry[W + l] * m0 + geometry[3 * W + l] * m1 + geometry[4 * W + l] * m2;
            f[2][v][l] = geometry[2 * W + l] * m0 + geometry[4 * W + l] * m1 + geometry[5 * W + l] * m2;
        }
    }
}

/* y += A x over straight-sided cells; geometry (batches, 6, W), zero where a cell is curved. */
void stiffness(int64_t cells, const int32_t *unknowns, const REAL *geometry, const REAL *x, REAL *restrict y)
{
    for (int64_t first = 0; first < cells; first += W, geometry += 6 * W) {
        int count = cells - first < W ? (int)(cells - first) : W;
        const int32_t *at = unknowns + 10 * first;
        REAL u[10][W] __attribute__((aligned(64))), g[3][4][W] __attribute__((aligned(64)));
        REAL f[3][4][W] __attribute__((aligned(64)));
        gather(count, 10, at, x, u);
        gradients(u, g);
        conducted(geometry, g, f);
        residuals(f, u);
        for (int l = 0; l < count; l++)
            for (int k = 0; k < 10; k++) y[at[10 * l + k]] += u[k][l];
    }
}

/* x.A x over straight-sided cells */
double energy(int64_t cells, const int32_t *unknowns, const REAL *geometry, const REAL *x)
{
    double sum = 0;
    for (int64_t first = 0; first < cells; first += W, geometry += 6 * W) {
        int count = cells - first < W ? (int)(cells - first) : W;
        REAL u[10][W] __attribute__((aligned(64))), g[3][4][W] __attribute__((aligned(64)));
        REAL f[3][4][W] __attribute__((aligned(64)));
        gather(count, 10, unknowns + 10 * first, x, u);
        gradients(u, g);
        conducted(geometry, g, f);
        for (int i = 0; i < 12; i++)
            for (int l = 0; l < W; l++) sum += (double)(g[i / 4][i % 4][l] * f[i / 4][i % 4][l]);
    }
    return sum;
}

/* y += A x over cells with stored matrices: upper triangles (cells, 55), row by row. */
void stored(int64_t cells, const int32_t *which, const int32_t *unknowns, const REAL *matrix, const REAL *x, REAL *y)
{
    for (int64_t c = 0; c < cells; c++, matrix += 55) {
        const int32_t *at = unknowns + 10 * (int64_t)which[c];
        REAL u[10], r[10] = {0};
        for (int k = 0; k < 10; k++) u[k] = x[at[k]];
        const REAL *entry = matrix;
        for (int i = 0; i < 10; i++) {
            r[i] += *entry++ * u[i];
            for (int j = i + 1; j < 10; j++, entry++) {
                r[i] += *entry * u[j];
                r[j] += *entry * u[i];
            }
        }
        for (int k = 0; k < 10; k++) y[at[k]] += r[k];
    }
}

/* Residuals of the four unknowns of each lane: degree 1 with factor 1; with factor 9 the elements of Crouzeix and Raviart,
   whose facet i has the function 1 - 3 lambda_i.  Adds the products with the unknowns to ``energy`` unless it is null. */
static inline void corner_residuals(int count, const int32_t *at, REAL factor, const REAL *g, const REAL *x,
                                    REAL r[4][W], double *energy)
{
    REAL u[4][W] __attribute__((aligned(64))), sum[W];
    gather(count, 4, at, x, u);
    factor *= 20;
    LANES for (int l = 0; l < W; l++) {
        REAL a = factor * (u[1][l] - u[0][l]), b = factor * (u[2][l] - u[0][l]), c = factor * (u[3][l] - u[0][l]);
        r[1][l] = g[l] * a + g[W + l] * b + g[2 * W + l] * c;
        r[2][l] = g[W + l] * a + g[3 * W + l] * b + g[4 * W + l] * c;
        r[3][l] = g[2 * W + l] * a + g[4 * W + l] * b + g[5 * W + l] * c;
        r[0][l] = -(r[1][l] + r[2][l] + r[3][l]);
        sum[l] = (a * r[1][l] + b * r[2][l] + c * r[3][l]) / factor;
    }
    for (int l = 0; energy && l < W; l++) *energy += (double)sum[l];
}

/* y += A x with those elements on cells that are taken as straight-sided. */
void corners(int64_t cells, REAL factor, const int32_t *unknowns, const REAL *geometry, const REAL *x,
             REAL *restrict y)
{
    for (int64_t first = 0; first < cells; first += W, geometry += 6 * W) {
        int count = cells - first < W ? (int)(cells - first) : W;
        const int32_t *at = unknowns + 4 * first;
        REAL r[4][W] __attribute__((aligned(64)));
        corner_residuals(count, at, factor, geometry, x, r, 0);
        for (int l = 0; l < count; l++)
            for (int k = 0; k < 4; k++) y[at[4 * l + k]] += r[k][l];
    }
}

/* x.A x of degree 1 */
double corner_energy(int64_t cells, const int32_t *unknowns, const REAL *geometry, const REAL *x)
{
    double energy = 0;
    for (int64_t first = 0; first < cells; first += W, geometry += 6 * W) {
        REAL r[4][W] __attribute__((aligned(64)));
        corner_residuals(cells - first < W ? (int)(cells - first) : W, unknowns + 4 * first, 1, geometry, x, r, &energy);
    }
    return energy;
}

/* The residuals of Crouzeix and Raviart by cell: out (cells, 4). */
void facet_values(int64_t cells, const int32_t *unknowns, const REAL *geometry, const REAL *x, REAL *restrict out)
{
    for (int64_t first = 0; first < cells; first += W, geometry += 6 * W) {
        int count = cells - first < W ? (int)(cells - first) : W;
        REAL r[4][W] __attribute__((aligned(64)));
        corner_residuals(count, unknowns + 4 * first, 9, geometry, x, r, 0);
        for (int l = 0; l < count; l++)
            for (int k = 0; k < 4; k++) out[4 * (first + l) + k] = r[k][l];
    }
}

/* Add the diagonal of that matrix. */
void facet_diagonal(int64_t cells, const int32_t *unknowns, const REAL *geometry, REAL *out)
{
    for (int64_t c = 0; c < cells; c++) {
        const REAL *g = geometry + c / W * 6 * W + c % W;
        const int32_t *at = unknowns + 4 * c;
        REAL inner = g[0] + g[3 * W] + g[5 * W];
        out[at[0]] += 180 * (inner + 2 * (g[W] + g[2 * W] + g[4 * W]));
        out[at[1]] += 180 * g[0];
        out[at[2]] += 180 * g[3 * W];
        out[at[3]] += 180 * g[5 * W];
    }
}

/* Gradients n of the last three barycentric coordinates times the determinant, which is returned. */
static double cofactors(const double *const p[4], double n[3][3])
{
    double t[3][3];
    for (int i = 0; i < 3; i++)
        for (int d = 0; d < 3; d++) t[i][d] = p[i + 1][d] - p[0][d];
    for (int i = 0; i < 3; i++) {
        const double *a = t[(i + 1) % 3], *b = t[(i + 2) % 3];
        n[i][0] = a[1] * b[2] - a[2] * b[1];
        n[i][1] = a[2] * b[0] - a[0] * b[2];
        n[i][2] = a[0] * b[1] - a[1] * b[0];
    }
    return t[0][0] * n[0][0] + t[0][1] * n[0][1] + t[0][2] * n[0][2];
}

/* a.S b with the symmetric S given as 00 01 02 11 12 22 */
static double form(const double *s, const double *a, const double *b)
{
    return a[0] * (s[0] * b[0] + s[1] * b[1] + s[2] * b[2]) + a[1] * (s[1] * b[0] + s[3] * b[1] + s[4] * b[2])
         + a[2] * (s[2] * b[0] + s[4] * b[1] + s[5] * b[2]);
}

/* Geometry of each cell, (batches, 6, W), from its first four nodes; sigma is 00 01 02 11 12 22, of all cells if
   ``step`` is 0, of each cell one after the other if it is 6.  ``largest`` is how far the other nodes may be from the middles of the edges, over the longest edge; cells beyond it are marked 1 in
   ``curved`` and get zeros.  Nodes 4 to 9 lie on the edges in basix's order. */
void geometry(int64_t cells, const int32_t *nodes, int64_t stride, const double *points, const double *sigma,
              int64_t step, double largest, REAL *out, uint8_t *curved)
{
    static const int ends[6][2] = {{2, 3}, {1, 3}, {1, 2}, {0, 3}, {0, 2}, {0, 1}};
    static const int row[6] = {0, 0, 0, 1, 1, 2}, column[6] = {0, 1, 2, 1, 2, 2};
    for (int64_t c = 0; c < cells; c++) {
        const int32_t *node = nodes + stride * c;
        const double *p[10];
        for (int k = 0; k < (stride == 10 ? 10 : 4); k++) p[k] = points + 3 * (int64_t)node[k];
        double off = 0, size = 0;
        for (int e = 0; stride == 10 && e < 6; e++) {
            double away = 0, length = 0;
            for (int d = 0; d < 3; d++) {
                double a = p[ends[e][0]][d], b = p[ends[e][1]][d], middle = p[4 + e][d] - 0.5 * (a + b);
                away += middle * middle;
                length += (a - b) * (a - b);
            }
            off = fmax(off, away);
            size = fmax(size, length);
        }
        int bent = off > largest * largest * size;
        if (curved) curved[c] = (uint8_t)bent;
        double n[3][3], determinant = cofactors(p, n);
        double factor = bent ? 0 : 1 / (120 * fabs(determinant));
        for (int k = 0; k < 6; k++)
            out[c / W * 6 * W + k * W + c % W] = (REAL)(factor * form(sigma + step * c, n[row[k]], n[column[k]]));
    }
}

/* The flux -S grad u of straight-sided cells in reference coordinates (contravariant, Piola), at the four vertices:
   (cells, 3, 4).  u has ten values a cell; sigma and step as above. */
void fluxes(int64_t cells, const int32_t *nodes, int64_t stride, const double *points, const double *sigma,
            int64_t step, const int32_t *unknowns, const REAL *x, REAL *out)
{
    for (int64_t c = 0; c < cells; c++, out += 12) {
        const double *p[4];
        double n[3][3];
        for (int k = 0; k < 4; k++) p[k] = points + 3 * (int64_t)nodes[stride * c + k];
        double determinant = cofactors(p, n);
        REAL u[10][W] = {{0}}, g[3][4][W];
        for (int k = 0; k < 10; k++) u[k][0] = x[unknowns[10 * c + k]];
        gradients(u, g);
        for (int i = 0; i < 3; i++) {
            double row[3];
            for (int j = 0; j < 3; j++) row[j] = -form(sigma + step * c, n[i], n[j]) / determinant;
            for (int v = 0; v < 4; v++)
                out[4 * i + v] = (REAL)(row[0] * g[0][v][0] + row[1] * g[1][v][0] + row[2] * g[2][v][0]);
        }
    }
}

/* Add the diagonal of the straight-sided cells. */
void diagonal(int64_t cells, const int32_t *unknowns, const REAL *geometry, REAL *out)
{
    static const int ends[6][2] = {{2, 3}, {1, 3}, {1, 2}, {0, 3}, {0, 2}, {0, 1}};
    for (int64_t c = 0; c < cells; c++) {
        const REAL *g = geometry + c / W * 6 * W + c % W;
        const int32_t *at = unknowns + 10 * c;
        REAL k[4][4]; /* 1/20 of the stiffness of degree 1 */
        k[1][1] = g[0], k[1][2] = k[2][1] = g[W], k[1][3] = k[3][1] = g[2 * W];
        k[2][2] = g[3 * W], k[2][3] = k[3][2] = g[4 * W], k[3][3] = g[5 * W];
        k[0][0] = 0;
        for (int i = 1; i < 4; i++) {
            k[0][i] = -(k[i][1] + k[i][2] + k[i][3]);
            k[0][0] -= k[0][i];
        }
        for (int v = 0; v < 4; v++) out[at[v]] += 12 * k[v][v];
        for (int e = 0; e < 6; e++) {
            int a = ends[e][0], b = ends[e][1];
            out[at[4 + e]] += 32 * (k[a][a] + k[b][b] + (a < b ? k[a][b] : k[b][a]));
        }
    }
}

/* The matrix of degree 1 on straight-sided cells by rows, columns ascending, with unit rows at the fixed unknowns.
   ``unknowns`` (cells, 4); ``start`` (n + 1), ``around`` (4 cells) and ``place`` (n) are for work; ``rows`` (n + 1),
   ``columns`` and ``values``, with room for n + 12 cells, are filled. */
void vertex_matrix(int64_t cells, int64_t n, const int32_t *unknowns, const REAL *geometry, const uint8_t *fixed,
                   int32_t *start, int32_t *around, int32_t *place, int32_t *rows, int32_t *columns, REAL *values)
{
    memset(start, 0, (size_t)(n + 1) * sizeof *start);
    for (int64_t k = 0; k < 4 * cells; k++) start[unknowns[k] + 1]++;
    for (int64_t i = 0; i < n; i++) start[i + 1] += start[i];
    memcpy(place, start, (size_t)n * sizeof *place);
    for (int64_t k = 0; k < 4 * cells; k++) around[place[unknowns[k]]++] = (int32_t)k;
    for (int64_t i = 0; i < n; i++) place[i] = -1;
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        const int32_t first = count;
        rows[i] = first;
        if (fixed[i]) columns[count] = (int32_t)i, values[count++] = 1;
        for (int32_t k = start[i]; k < start[i + 1] && !fixed[i]; k++) {
            const int32_t cell = around[k] / 4, own = around[k] % 4;
            const REAL *g = geometry + cell / W * 6 * W + cell % W;
            const REAL inner[3][3] = {{g[0], g[W], g[2 * W]}, {g[W], g[3 * W], g[4 * W]}, {g[2 * W], g[4 * W], g[5 * W]}};
            REAL entry[4] = {0};
            for (int j = 0; j < 3; j++) {
                entry[j + 1] = own ? inner[own - 1][j] : -(inner[0][j] + inner[1][j] + inner[2][j]);
                entry[0] -= entry[j + 1];
            }
            for (int j = 0; j < 4; j++) {
                const int32_t column = unknowns[4 * cell + j];
                if (fixed[column]) continue;
                if (place[column] < first) {
                    place[column] = count;
                    columns[count] = column;
                    values[count++] = 0;
                }
                values[place[column]] += 20 * entry[j];
            }
        }
        for (int32_t a = first + 1; a < count; a++) { /* a dozen of them */
            const int32_t column = columns[a];
            const REAL value = values[a];
            int32_t b = a;
            for (; b > first && columns[b - 1] > column; b--) columns[b] = columns[b - 1], values[b] = values[b - 1];
            columns[b] = column, values[b] = value;
        }
    }
    rows[n] = count;
}

/* One step of the smoother: r -= w; d = a d + b D r; x += d. */
void smooth(int64_t n, REAL a, REAL b, const REAL *inverse, const REAL *w, REAL *restrict r, REAL *restrict d,
            REAL *restrict x)
{
    LANES for (int64_t i = 0; i < n; i++) {
        REAL rest = r[i] - w[i], step = a * d[i] + b * inverse[i] * rest;
        r[i] = rest;
        d[i] = step;
        x[i] += step;
    }
}

/* Its first step: d = b D r; x = d or x += d. */
void begin(int64_t n, REAL b, const REAL *inverse, const REAL *r, REAL *restrict d, REAL *restrict x,
           int64_t add)
{
    LANES for (int64_t i = 0; i < n; i++) {
        REAL step = b * inverse[i] * r[i];
        d[i] = step;
        x[i] = add ? x[i] + step : step;
    }
}

/* Numbers of the unknowns of degree 2, in the order in which the cells come to them: out (cells, 10), of the vertices
   ``ones`` (cells, 4) below ``n``; returns how many.  ``first`` (n) is for work, and ``at`` (n) takes the vertices'
   numbers; edges are listed by their lower vertex: ``next``, ``upper`` and ``own`` have room for 6 cells each. */
int64_t quadratic(int64_t cells, int64_t n, const int32_t *ones, int32_t *first, int32_t *at, int32_t *next,
                  int32_t *upper, int32_t *own, int32_t *out)
{
    static const int ends[6][2] = {{2, 3}, {1, 3}, {1, 2}, {0, 3}, {0, 2}, {0, 1}};
    int32_t count = 0, edges = 0;
    for (int64_t i = 0; i < n; i++) first[i] = at[i] = -1;
    for (int64_t c = 0; c < cells; c++, ones += 4, out += 10) {
        for (int k = 0; k < 4; k++) {
            if (at[ones[k]] < 0) at[ones[k]] = count++;
            out[k] = at[ones[k]];
        }
        for (int k = 0; k < 6; k++) {
            const int32_t a = ones[ends[k][0]], b = ones[ends[k][1]], low = a < b ? a : b, high = a < b ? b : a;
            int32_t edge = first[low];
            while (edge >= 0 && upper[edge] != high) edge = next[edge];
            if (edge < 0) {
                edge = edges++;
                next[edge] = first[low], upper[edge] = high, own[edge] = count++;
                first[low] = edge;
            }
            out[4 + k] = own[edge];
        }
    }
    return count;
}

/* The two unknowns of degree 1 whose mean each unknown of degree 2 takes: out (n, 2). */
void parents(int64_t cells, const int32_t *ones, const int32_t *twos, int32_t *out)
{
    static const int ends[10][2] = {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {2, 3}, {1, 3}, {1, 2}, {0, 3}, {0, 2}, {0, 1}};
    for (int64_t c = 0; c < cells; c++)
        for (int k = 0; k < 10; k++) {
            out[2 * (int64_t)twos[10 * c + k]] = ones[4 * c + ends[k][0]];
            out[2 * (int64_t)twos[10 * c + k] + 1] = ones[4 * c + ends[k][1]];
        }
}

/* From degree 1: each unknown takes the mean of ``count`` vertices, 2 or 3, or zero where ``inverse`` is zero; which is
   added to ``total`` as well. */
static inline void raise_from(int64_t n, int count, const int32_t *parent, const REAL *inverse, const REAL *coarse,
                              REAL *restrict fine, REAL *restrict total)
{
    for (int64_t i = 0; i < n; i++, parent += count) {
        REAL sum = coarse[parent[0]] + coarse[parent[1]];
        if (count == 3) sum += coarse[parent[2]];
        fine[i] = inverse[i] != 0 ? sum * (REAL)(1.0 / count) : 0;
        total[i] += fine[i];
    }
}

void raise(int64_t n, int64_t count, const int32_t *parent, const REAL *inverse, const REAL *coarse, REAL *fine,
           REAL *total)
{
    if (count == 2)
        raise_from(n, 2, parent, inverse, coarse, fine, total);
    else
        raise_from(n, 3, parent, inverse, coarse, fine, total);
}

/* The transpose of it, of the residual r -= w: added to ``coarse``. */
static inline void lower_to(int64_t n, int count, const int32_t *parent, const REAL *inverse, REAL *restrict r,
                            const REAL *w, REAL *restrict coarse)
{
    for (int64_t i = 0; i < n; i++, parent += count) {
        const REAL rest = r[i] - w[i], part = inverse[i] != 0 ? rest * (REAL)(1.0 / count) : 0;
        r[i] = rest;
        coarse[parent[0]] += part;
        coarse[parent[1]] += part;
        if (count == 3) coarse[parent[2]] += part;
    }
}

void lower(int64_t n, int64_t count, const int32_t *parent, const REAL *inverse, REAL *r, const REAL *w, REAL *coarse)
{
    if (count == 2)
        lower_to(n, 2, parent, inverse, r, w, coarse);
    else
        lower_to(n, 3, parent, inverse, r, w, coarse);
}

/* x += alpha p; r -= alpha q; returns r.r */
double advance(int64_t n, REAL alpha, const REAL *p, const REAL *q, REAL *restrict x, REAL *restrict r)
{
    double sum = 0;
    _Pragma("omp simd reduction(+ : sum)") for (int64_t i = 0; i < n; i++) {
        x[i] += alpha * p[i];
        REAL rest = r[i] - alpha * q[i];
        r[i] = rest;
        sum += (double)(rest * rest);
    }
    return sum;
}

/* a.b */
double dot(int64_t n, const REAL *a, const REAL *b)
{
    double sum = 0;
    _Pragma("omp simd reduction(+ : sum)") for (int64_t i = 0; i < n; i++) sum += (double)(a[i] * b[i]);
    return sum;
}

/* out = {z.a, z.b} with z in single precision. */
void products(int64_t n, const float *z, const REAL *a, const REAL *b, double *out)
{
    double one = 0, two = 0;
    _Pragma("omp simd reduction(+ : one, two)") for (int64_t i = 0; i < n; i++) {
        one += (double)z[i] * (double)a[i];
        two += (double)z[i] * (double)b[i];
    }
    out[0] = one;
    out[1] = two;
}

/* p = z + beta p with z in single precision. */
void direct(int64_t n, REAL beta, const float *z, REAL *restrict p)
{
    LANES for (int64_t i = 0; i < n; i++) p[i] = (REAL)z[i] + beta * p[i];
}

/* A matrix by rows is kept in slices of W rows, padded with zeros to the longest of them, which only costs little where
   the rows of a window are sorted by length: ``order`` (n) and ``starts`` (slices + 1), in columns of W entries. */
#define WINDOW 256
void slices(int64_t n, const int32_t *rows, int32_t *order, int32_t *starts)
{
    for (int64_t first = 0; first < n; first += WINDOW) {
        const int32_t *row = rows + first;
        const int32_t count = n - first < WINDOW ? (int32_t)(n - first) : WINDOW;
        int32_t place[WINDOW + 2] = {0}; /* by falling length; longer ones than WINDOW as they come */
        for (int32_t i = 0; i < count; i++) {
            const int32_t length = row[i + 1] - row[i];
            place[(length < WINDOW ? WINDOW - length : 0) + 1]++;
        }
        for (int k = 0; k <= WINDOW; k++) place[k + 1] += place[k];
        for (int32_t i = 0; i < count; i++) {
            const int32_t length = row[i + 1] - row[i];
            order[first + place[length < WINDOW ? WINDOW - length : 0]++] = (int32_t)(first + i);
        }
    }
    starts[0] = 0;
    for (int64_t first = 0; first < n; first += W, starts++) {
        int32_t longest = 0;
        for (int64_t k = first; k < first + W && k < n; k++) {
            const int32_t length = rows[order[k] + 1] - rows[order[k]];
            longest = length > longest ? length : longest;
        }
        starts[1] = starts[0] + longest;
    }
}

/* The entries of the slices: ``places`` and ``entries``, W starts[slices] of each. */
void fill(int64_t n, const int32_t *rows, const int32_t *columns, const REAL *values, const int32_t *order,
          const int32_t *starts, int32_t *places, REAL *entries)
{
    for (int64_t first = 0; first < n; first += W, starts++)
        for (int l = 0; l < W; l++) {
            const int32_t row = first + l < n ? order[first + l] : -1, begin = row < 0 ? 0 : rows[row];
            const int32_t length = row < 0 ? 0 : rows[row + 1] - begin;
            for (int32_t j = 0; j < starts[1] - starts[0]; j++) {
                const int64_t at = W * (int64_t)(starts[0] + j) + l;
                places[at] = j < length ? columns[begin + j] : 0;
                entries[at] = j < length ? values[begin + j] : 0;
            }
        }
}

static inline void slice(const int32_t *starts, const int32_t *columns, const REAL *values, const REAL *x, REAL sum[W])
{
    LANES for (int l = 0; l < W; l++) sum[l] = 0;
    for (int64_t j = W * (int64_t)starts[0]; j < W * (int64_t)starts[1]; j += W)
        LANES for (int l = 0; l < W; l++) sum[l] += values[j + l] * x[columns[j + l]];
}

/* y = a y + b A x */
void times(int64_t n, const int32_t *order, const int32_t *starts, const int32_t *columns, const REAL *values, REAL a,
           REAL b, const REAL *x, REAL *restrict y)
{
    for (int64_t first = 0; first < n; first += W, starts++) {
        const int count = n - first < W ? (int)(n - first) : W;
        REAL sum[W];
        slice(starts, columns, values, x, sum);
        for (int l = 0; l < count; l++) y[order[first + l]] = a * y[order[first + l]] + b * sum[l];
    }
}

/* One step of its smoother: r -= A d; ahead = a d + b D r; x += ahead. */
void polish(int64_t n, const int32_t *order, const int32_t *starts, const int32_t *columns, const REAL *values, REAL a,
            REAL b, const REAL *inverse, const REAL *d, REAL *restrict r, REAL *restrict ahead, REAL *restrict x)
{
    for (int64_t first = 0; first < n; first += W, starts++) {
        const int count = n - first < W ? (int)(n - first) : W;
        REAL sum[W];
        slice(starts, columns, values, d, sum);
        for (int l = 0; l < count; l++) {
            const int32_t i = order[first + l];
            const REAL rest = r[i] - sum[l], step = a * d[i] + b * inverse[i] * rest;
            r[i] = rest;
            ahead[i] = step;
            x[i] += step;
        }
    }
}

#define FABS(x) ((x) < 0 ? -(x) : (x))
/* Aggregates of the unknowns of a matrix by rows: whoever is covered by none is the root of a new one and covers its
   neighbours below ``n``, each of which goes to the root that it is coupled to most.  Roots are looked for here and there,
   by a step without a common divisor with n: one after the other they would be closer than need be.  ``owner`` (n), -1 at
   the start, gets the aggregate of each, numbered as the unknowns come to them, and keeps it where a row has only its
   diagonal; ``strength`` (n), 0, and ``number`` (n) are for work.  Returns how many there are. */
int64_t aggregates(int64_t n, const int32_t *rows, const int32_t *columns, const REAL *values, int32_t *owner,
                   REAL *strength, int32_t *number)
{
    int32_t roots = 0, count = 0;
    for (int64_t step = 0; step < n; step++) {
        const int32_t i = (int32_t)(step * INT32_MAX % n);
        int alone = 1;
        for (int32_t k = rows[i]; k < rows[i + 1] && alone; k++) alone = columns[k] == i || values[k] == 0;
        if (alone || owner[i] >= 0) continue;
        number[roots] = -1;
        owner[i] = roots;
        strength[i] = (REAL)INFINITY;
        for (int32_t k = rows[i]; k < rows[i + 1]; k++) {
            const int32_t j = columns[k];
            const REAL size = FABS(values[k]);
            if (j < n && size > strength[j]) owner[j] = roots, strength[j] = size;
        }
        roots++;
    }
    for (int64_t i = 0; i < n; i++) {
        if (owner[i] < 0) continue;
        if (number[owner[i]] < 0) number[owner[i]] = count++;
        owner[i] = number[owner[i]];
    }
    return count;
}

/* Interpolation from aggregates, T - step D^-1 A T by rows, where T has a one at the aggregate ``piece`` of each unknown
   that has one (not -1) and D is the diagonal.  What is below ``share`` of the largest beside the diagonal of its row
   counts as on the diagonal.  ``place`` (width) is for work, ``width`` aggregates being known here. */
void interpolation(int64_t n, const int32_t *rows, const int32_t *columns, const REAL *values, const int32_t *piece,
                   REAL share, REAL step, int64_t width, int32_t *place, int32_t *starts, int32_t *out, REAL *weights)
{
    int32_t count = 0;
    for (int64_t j = 0; j < width; j++) place[j] = -1;
    for (int64_t i = 0; i < n; i++) {
        const int32_t first = starts[i] = count;
        REAL most = 0, diagonal = 0, own = 0;
        for (int32_t k = rows[i]; k < rows[i + 1]; k++)
            if (columns[k] == i)
                diagonal = values[k];
            else
                most = FABS(values[k]) > most ? FABS(values[k]) : most;
        if (piece[i] < 0) continue;
        place[piece[i]] = count;
        out[count++] = piece[i];
        for (int32_t k = rows[i]; k < rows[i + 1]; k++) {
            const int32_t at = piece[columns[k]];
            if (columns[k] == i || FABS(values[k]) < share * most) {
                own += values[k];
                continue;
            }
            if (at < 0) continue;
            if (place[at] < first) {
                place[at] = count;
                out[count] = at;
                weights[count++] = 0;
            }
            if (at == piece[i])
                own += values[k];
            else
                weights[place[at]] -= step / diagonal * values[k];
        }
        weights[first] = 1 - step / diagonal * own;
    }
    starts[n] = count;
}

/* The product of two matrices by rows, the second with ``width`` columns; ``place`` (width) is for work, and ``columns``
   and ``values`` have room for all single products. */
void product(int64_t n, const int32_t *left, const int32_t *inner, const REAL *factors, const int32_t *right,
             const int32_t *outer, const REAL *entries, int64_t width, int32_t *place, int32_t *rows, int32_t *columns,
             REAL *values)
{
    int32_t count = 0;
    for (int64_t j = 0; j < width; j++) place[j] = -1;
    for (int64_t i = 0; i < n; i++) {
        const int32_t first = count;
        rows[i] = first;
        for (int32_t k = left[i]; k < left[i + 1]; k++) {
            const REAL factor = factors[k];
            for (int32_t m = right[inner[k]]; m < right[inner[k] + 1]; m++) {
                const int32_t column = outer[m], fresh = place[column] < first, at = fresh ? count : place[column];
                place[column] = at; /* without a branch, which no processor foresees */
                columns[at] = column;
                values[at] = (fresh ? 0 : values[at]) + factor * entries[m];
                count += fresh;
            }
        }
    }
    rows[n] = count;
}
