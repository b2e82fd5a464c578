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
typedef REAL anywhere __attribute__((vector_size(W * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
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

/* Out of the compiler's sight: it would keep indices of one cell for the next on the stack. */
#define FRESH(at) __asm__("" : "+r"(at))

static inline lanes take(const int32_t *at, const REAL *x)
{
    FRESH(at);
    return (lanes){x[at[0]], x[at[1]], x[at[2]], x[at[3]], x[at[4]], x[at[5]], x[at[6]], x[at[7]]};
}

/* The unknown on the edge between two corners of a cell, and by edge its corners. */
static const int8_t EDGE[4][4] = {{-1, 9, 8, 7}, {9, -1, 6, 5}, {8, 6, -1, 4}, {7, 5, 4, -1}};
static const int8_t ENDS[6][2] = {{2, 3}, {1, 3}, {1, 2}, {0, 3}, {0, 2}, {0, 1}};

/* g_i(v) for i = 1, 2, 3 at v = 0..3 from the ten values of each lane. */
static inline void gradients(const REAL u[10][W], REAL g[3][4][W])
{
    for (int i = 1; i < 4; i++)
        for (int v = 0; v < 4; v++) {
            REAL *out = g[i - 1][v];
            const REAL *ui = u[i], *u0 = u[0], *e0i = u[EDGE[0][i]];
            if (v == 0)
                LANES for (int l = 0; l < W; l++) out[l] = 4 * e0i[l] - ui[l] - 3 * u0[l];
            else if (v == i)
                LANES for (int l = 0; l < W; l++) out[l] = 3 * ui[l] - 4 * e0i[l] + u0[l];
            else {
                const REAL *eij = u[EDGE[i][v]], *e0j = u[EDGE[0][v]];
                LANES for (int l = 0; l < W; l++) out[l] = 4 * (eij[l] - e0j[l]) - ui[l] + u0[l];
            }
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

/* Fans: cells (a, b, v, w), (a, b, w, ...) round an edge ab, of which each shares a facet with the one before, so that
   k cells have 6 + 4 k unknowns to load and store instead of 10 k. */
#define LONGEST 8
#define RING 32 /* cells of an edge that are looked at */
/* The processor does not foresee which unknowns come: they are asked for in packs, SOON batches before their batch, unless
   one of the last RECENT had them.  Indices and geometry are asked for STEPS cells before. */
#define LINE 64 /* bytes of a line of the cache */
#define PACK 16
#define SOON 16
#define RECENT 200
#define STEPS 16

typedef struct {
    int32_t a, b, v, count, cell[LONGEST];
} fan;

static inline int corner(const int32_t *at, int32_t vertex)
{
    return (at[1] == vertex) + 2 * (at[2] == vertex) + 3 * (at[3] == vertex); /* branches would be foreseen wrongly */
}

/* The cells of each edge i, around[start[i]] to around[start[i + 1]], ascending; vertices have none. */
static void surround(int64_t cells, int64_t n, const int32_t *unknowns, int32_t *start, int32_t *around)
{
    for (int64_t i = 0; i <= n; i++) start[i] = 0;
    for (int64_t c = 0; c < cells; c++)
        for (int k = 4; k < 10; k++) start[unknowns[10 * c + k]]++;
    for (int64_t i = 1; i <= n; i++) start[i] += start[i - 1];
    for (int64_t c = cells - 1; c >= 0; c--)
        for (int k = 4; k < 10; k++) around[--start[unknowns[10 * c + k]]] = (int32_t)c;
}

/* A fan with a cell round that of its edges which most cells have that are ``free``, by edge (n); takes its cells. */
static fan longest(const int32_t *unknowns, const int32_t *start, const int32_t *around, uint8_t *taken, uint8_t *free,
                   int32_t cell)
{
    static const int8_t corners[6][4] = {{2, 3, 0, 1}, {1, 3, 0, 2}, {1, 2, 0, 3}, {0, 3, 1, 2}, {0, 2, 1, 3}, {0, 1, 2, 3}};
    const int32_t *at = unknowns + 10 * (int64_t)cell;
    int edge = 0, others = 0;
    for (int k = 1; k < 6; k++) edge = free[at[4 + k]] > free[at[4 + edge]] ? k : edge;
    const int8_t *k = corners[edge];
    int32_t other[RING], ends[RING][2], last = at[k[3]];
    fan own = {.a = at[k[0]], .b = at[k[1]], .v = at[k[2]], .count = 1, .cell = {cell}};
    for (int32_t i = start[at[4 + edge]]; i < start[at[4 + edge] + 1] && others < RING; i++) {
        if (taken[around[i]] || around[i] == cell) continue;
        const int32_t *its = unknowns + 10 * (int64_t)(other[others] = around[i]);
        const int a = corner(its, own.a), b = corner(its, own.b), c = a == 0 || b == 0 ? (a == 1 || b == 1 ? 2 : 1) : 0;
        ends[others][0] = its[c], ends[others++][1] = its[6 - a - b - c];
    }
    for (int i = 0; i < others && own.count < LONGEST;) { /* whichever goes on at either end */
        const int after = ends[i][0] == last || ends[i][1] == last, before = ends[i][0] == own.v || ends[i][1] == own.v;
        if (!after && !before) {
            i++;
            continue;
        }
        int32_t *const end = after ? &last : &own.v;
        *end = ends[i][0] == *end ? ends[i][1] : ends[i][0];
        if (before && !after) memmove(own.cell + 1, own.cell, (size_t)own.count * sizeof *own.cell);
        own.cell[after ? own.count : 0] = other[i];
        own.count++;
        other[i] = other[--others], ends[i][0] = ends[others][0], ends[i][1] = ends[others][1];
        i = 0;
    }
    for (int i = 0; i < own.count; i++) {
        taken[own.cell[i]] = 1;
        for (int e = 4; e < 10; e++) free[unknowns[10 * (int64_t)own.cell[i] + e]]--;
    }
    return own;
}

/* 1/20 of the stiffness of degree 1 of a cell. */
static inline void linear(const REAL *g, REAL k[4][4])
{
    k[1][1] = g[0], k[1][2] = k[2][1] = g[W], k[1][3] = k[3][1] = g[2 * W];
    k[2][2] = g[3 * W], k[2][3] = k[3][2] = g[4 * W], k[3][3] = g[5 * W];
    k[0][0] = 0;
    for (int i = 1; i < 4; i++) {
        k[0][i] = k[i][0] = -(k[i][1] + k[i][2] + k[i][3]);
        k[0][0] -= k[0][i];
    }
}

/* One batch, a fan a lane, all of one length: the unknowns ``at`` (6 + 4 length, W) and the geometry (length, 6, W) with
   (a, b, v, w) for corners, in single precision and what that leaves.  Lanes beyond ``count`` repeat the first one's
   unknowns with no cells. */
static void write(const int32_t *unknowns, const REAL *geometry, const fan *fans, int count, int32_t *at, float *near,
                  float *rest)
{
    for (int l = 0; l < W; l++) {
        const fan *own = fans + (l < count ? l : 0);
        int32_t v = own->v, *out = at + l;
        float *first = near + l, *second = rest + l;
        for (int j = 0; j < own->count; j++) {
            const int32_t cell = own->cell[j], *its = unknowns + 10 * (int64_t)cell;
            const int a = corner(its, own->a), b = corner(its, own->b), c = corner(its, v), d = 6 - a - b - c;
            const int32_t start[6] = {own->a, own->b, its[EDGE[a][b]], v, its[EDGE[a][c]], its[EDGE[b][c]]};
            const int32_t next[4] = {its[d], its[EDGE[a][d]], its[EDGE[b][d]], its[EDGE[c][d]]};
            for (int k = 0; j == 0 && k < 6; k++, out += W) *out = start[k];
            for (int k = 0; k < 4; k++, out += W) *out = next[k];
            v = its[d];
            REAL k[4][4];
            linear(geometry + cell / W * 6 * W + cell % W, k);
            const REAL whole[6] = {k[b][b], k[b][c], k[b][d], k[c][c], k[c][d], k[d][d]};
            for (int e = 0; e < 6; e++, first += W, second += W) {
                *first = l < count ? (float)whole[e] : 0;
                *second = l < count ? (float)(whole[e] - (REAL)*first) : 0;
            }
        }
    }
}

/* Batches of W fans of one length, and how many; a long one through each cell that is left is taken, in the cells' order.
   For m = cells + W LONGEST^2, the unknowns ``at`` by batch and the ``packs`` to ask for have room for 10 m, the two parts
   of the geometry for 6 m, and ``lengths`` and ``ends``, of its packs, by batch for m / W.  ``start``
   (n + 1), ``around`` (6 cells), ``taken`` (cells), ``free`` (n) and ``last`` (n / PACK + 1), the batch that had a pack
   last, are for work. */
int64_t fans(int64_t cells, int64_t n, const int32_t *unknowns, const REAL *geometry, int32_t *start, int32_t *around,
             uint8_t *taken, uint8_t *free, int32_t *last, int32_t *lengths, int32_t *ends, int32_t *packs,
             int32_t *at, float *near, float *rest)
{
    fan waiting[LONGEST + 1][W];
    int count[LONGEST + 1] = {0};
    int32_t batches = 0, asked = 0;
    surround(cells, n, unknowns, start, around);
    for (int64_t i = 0; i < n; i++) {
        const int32_t its = start[i + 1] - start[i];
        free[i] = (uint8_t)(its < 255 ? its : 255);
        last[i / PACK] = -RECENT - 1;
    }
    for (int64_t c = 0; c < cells; c++) taken[c] = 0;
    for (int64_t c = 0; c < cells + LONGEST; c++) {
        int k = (int)(c - cells) + 1; /* at the end those that wait */
        if (c < cells) {
            if (taken[c]) continue;
            const fan own = longest(unknowns, start, around, taken, free, (int32_t)c);
            k = own.count;
            waiting[k][count[k]++] = own;
        }
        if (c < cells ? count[k] < W : !count[k]) continue;
        write(unknowns, geometry, waiting[k], count[k], at, near, rest);
        for (int i = 0; i < (6 + 4 * k) * W; i++) {
            const int32_t pack = at[i] / PACK;
            if (last[pack] < batches - RECENT) packs[asked++] = pack;
            last[pack] = batches;
        }
        ends[batches] = asked;
        lengths[batches++] = k;
        at += (6 + 4 * k) * W;
        near += 6 * k * W, rest += 6 * k * W;
        count[k] = 0;
    }
    return batches;
}

/* Number k of the geometry of W cells, in the precision of the numbers. */
typedef float singles __attribute__((vector_size(W * sizeof(float)), aligned(4), may_alias));
static inline lanes number(const float *near, const float *rest, int k)
{
    lanes whole = __builtin_convertvector(*(const singles *)(near + k * W), lanes);
    if (sizeof(REAL) > sizeof(float)) whole += __builtin_convertvector(*(const singles *)(rest + k * W), lanes);
    return whole;
}

/* Where a cell (a, b, v, w) of a fan has its ten unknowns. */
static inline void places(const int32_t *edge, const int32_t *spoke, const int32_t *next, const int32_t *at[10])
{
    at[0] = edge, at[1] = edge + W, at[2] = spoke, at[3] = next;
    at[4] = next + 3 * W, at[5] = next + 2 * W, at[6] = spoke + 2 * W;
    at[7] = next + W, at[8] = spoke + W, at[9] = edge + 2 * W;
}

static inline void give(const int32_t *at, lanes value, REAL *y)
{
    FRESH(at);
    _Pragma("GCC unroll 8") for (int l = 0; l < W; l++) y[at[l]] += value[l];
}

/* y += A x over straight-sided cells in fans; their geometry is zero where they are curved.

   g_i(k) is the gradient at corner k of a cell (a, b, v, w) along the edge from a to b, v, w for i = 1, 2, 3, and f_i(k)
   the flux.  Of the next cell g_2 is g_3 of this one, and g_1 at v is that at w; the flux along a spoke, from a, b or v
   itself, is complete after the second of its cells.  Memory that is needed soon is asked for. */
void stiffness(int64_t batches, const int32_t *lengths, const int32_t *ends, const int32_t *packs, const int32_t *at,
               const float *near, const float *rest, const REAL *x, REAL *restrict y)
{
    for (int64_t batch = 0, k = 0; batch < batches; batch++) {
        for (const int32_t end = ends[batch + SOON < batches ? batch + SOON : batches - 1]; k < end; k++)
            for (int part = 0; part < PACK; part += LINE / (int)sizeof(REAL)) {
                __builtin_prefetch(x + PACK * (int64_t)packs[k] + part);
                __builtin_prefetch(y + PACK * (int64_t)packs[k] + part, 1);
            }
        const int32_t *const edge = at, *spoke = at + 3 * W;
        const lanes a = take(at, x), b = take(at + W, x), ab = take(at + 2 * W, x), drop = a - b;
        const lanes g1a = 4 * (ab - a) + drop, g1b = 4 * (b - ab) + drop;
        const lanes v = take(at + 3 * W, x), bv = take(at + 5 * W, x);
        lanes av = take(at + 4 * W, x), fall = a - v, g1v = 4 * (bv - av) + drop;
        lanes g2a = 4 * (av - a) + fall, g2b = 4 * (bv - ab) + fall, g2v = 4 * (v - av) + fall, sum2 = g2a + g2b + g2v;
        lanes f1a = {0}, f1b = {0}, f1v = {0}, fa = {0}, fb = {0}, fv = {0}; /* fa, fb, fv along the spoke */
        lanes f1s = {0}, fbs = {0}, ra = {0}, to_v = {0}, to_av = {0};
        at += 6 * W;
        for (int32_t j = 0; j < lengths[batch]; j++, at += 4 * W, near += 6 * W, rest += 6 * W) {
            for (int p = 0; p < 6 * W; p += LINE / 4) __builtin_prefetch(near + STEPS * 6 * W + p);
            for (int p = 0; p < 6 * W && sizeof(REAL) > 4; p += LINE / 4) __builtin_prefetch(rest + STEPS * 6 * W + p);
            for (int p = 0; p < 4 * W; p += LINE / 4) __builtin_prefetch(at + STEPS * 4 * W + p);
            const lanes w = take(at, x), aw = take(at + W, x), bw = take(at + 2 * W, x), vw = take(at + 3 * W, x);
            const lanes further = a - w, g1w = 4 * (bw - aw) + drop, g2w = 4 * (vw - aw) + fall;
            const lanes g3a = 4 * (aw - a) + further, g3b = 4 * (bw - ab) + further;
            const lanes g3v = 4 * (vw - av) + further, g3w = 4 * (w - aw) + further, sum3 = g3a + g3b + g3w;
            const lanes s1 = g1a + g1b + g1v + g1w, s2 = sum2 + g2w, s3 = sum3 + g3v;
            const lanes g[6] = {number(near, rest, 0), number(near, rest, 1), number(near, rest, 2),
                                number(near, rest, 3), number(near, rest, 4), number(near, rest, 5)};
            const lanes h1 = g[0] * s1 + g[1] * s2 + g[2] * s3, h2 = g[1] * s1 + g[3] * s2 + g[4] * s3;
            const lanes h3 = g[2] * s1 + g[4] * s2 + g[5] * s3;
#define FLUX(i, k, one, two, three) (h##i + g[one] * g1##k + g[two] * g2##k + g[three] * g3##k)
            f1a += FLUX(1, a, 0, 1, 2), f1b += FLUX(1, b, 0, 1, 2), f1v += FLUX(1, v, 0, 1, 2);
            fa += FLUX(2, a, 1, 3, 4), fb += FLUX(2, b, 1, 3, 4), fv += FLUX(2, v, 1, 3, 4);
            const lanes f2w = FLUX(2, w, 1, 3, 4), f3v = FLUX(3, v, 2, 4, 5), across = f2w + f3v;
            give(at + 3 * W, 4 * across, y);
            give(spoke, 3 * fv - fa - fb - f2w - to_v, y);
            give(spoke + W, 4 * (fa - fv - f1v - f3v - to_av), y);
            give(spoke + 2 * W, 4 * (f1v + fb), y);
            ra += fb + fv + f1v - 3 * fa + across, f1s += f1v, fbs += fb;
            f1v = FLUX(1, w, 0, 1, 2), fa = FLUX(3, a, 2, 4, 5), fb = FLUX(3, b, 2, 4, 5), fv = FLUX(3, w, 2, 4, 5);
            to_v = f3v, to_av = f2w, av = aw, fall = further, sum2 = sum3;
            g1v = g1w, g2a = g3a, g2b = g3b, g2v = g3w, spoke = at;
        }
        give(spoke, 3 * fv - fa - fb - to_v, y);
        give(spoke + W, 4 * (fa - fv - f1v - to_av), y);
        give(spoke + 2 * W, 4 * (f1v + fb), y);
        give(edge, ra + fb + fv + f1v - 3 * fa - 3 * f1a + f1b, y);
        give(edge + W, 3 * f1b - f1a - f1s - f1v, y);
        give(edge + 2 * W, 4 * (f1a - f1b - fbs - fb), y);
    }
}

/* x.A x over them */
double energy(int64_t batches, const int32_t *lengths, const int32_t *at, const float *near, const float *rest,
              const REAL *x)
{
    double sum = 0;
    for (int64_t batch = 0; batch < batches; batch++) {
        const int32_t *const edge = at, *spoke = at + 3 * W, *its[10];
        at += 6 * W;
        for (int32_t j = 0; j < lengths[batch]; j++, spoke = at, at += 4 * W, near += 6 * W, rest += 6 * W) {
            REAL u[10][W] __attribute__((aligned(64))), g[3][4][W] __attribute__((aligned(64)));
            REAL f[3][4][W] __attribute__((aligned(64))), geometry[6][W] __attribute__((aligned(64)));
            places(edge, spoke, at, its);
            for (int k = 0; k < 10; k++) *(lanes *)u[k] = take(its[k], x);
            for (int k = 0; k < 6; k++) *(lanes *)geometry[k] = number(near, rest, k);
            gradients(u, g);
            conducted(geometry[0], g, f);
            for (int i = 0; i < 12; i++)
                for (int l = 0; l < W; l++) sum += (double)(g[i / 4][i % 4][l] * f[i / 4][i % 4][l]);
        }
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
    static const int row[6] = {0, 0, 0, 1, 1, 2}, column[6] = {0, 1, 2, 1, 2, 2};
    for (int64_t c = 0; c < cells; c++) {
        const int32_t *node = nodes + stride * c;
        const double *p[10];
        for (int k = 0; k < (stride == 10 ? 10 : 4); k++) p[k] = points + 3 * (int64_t)node[k];
        double off = 0, size = 0;
        for (int e = 0; stride == 10 && e < 6; e++) {
            double away = 0, length = 0;
            for (int d = 0; d < 3; d++) {
                double a = p[ENDS[e][0]][d], b = p[ENDS[e][1]][d], middle = p[4 + e][d] - 0.5 * (a + b);
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

/* Add the diagonal of the straight-sided cells, in fans. */
void diagonal(int64_t batches, const int32_t *lengths, const int32_t *at, const float *near, const float *rest, REAL *out)
{
    for (int64_t batch = 0; batch < batches; batch++) {
        const int32_t *const edge = at, *spoke = at + 3 * W, *its[10];
        at += 6 * W;
        for (int32_t j = 0; j < lengths[batch]; j++, spoke = at, at += 4 * W, near += 6 * W, rest += 6 * W) {
            REAL geometry[6][W] __attribute__((aligned(64)));
            places(edge, spoke, at, its);
            for (int k = 0; k < 6; k++) *(lanes *)geometry[k] = number(near, rest, k);
            for (int l = 0; l < W; l++) {
                REAL k[4][4];
                linear(geometry[0] + l, k);
                for (int v = 0; v < 4; v++) out[its[v][l]] += 12 * k[v][v];
                for (int e = 0; e < 6; e++) {
                    const int a = ENDS[e][0], b = ENDS[e][1];
                    out[its[4 + e][l]] += 32 * (k[a][a] + k[b][b] + k[a][b]);
                }
            }
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

/* Its first step: x = d = b D r. */
void begin(int64_t n, REAL b, const REAL *inverse, const REAL *r, REAL *restrict d, REAL *restrict x)
{
    LANES for (int64_t i = 0; i < n; i++) x[i] = d[i] = b * inverse[i] * r[i];
}

/* The same for a residual in double precision, of which r takes ``scale`` times as much. */
void enter(int64_t n, double scale, REAL b, const REAL *inverse, const double *residual, REAL *restrict r,
           REAL *restrict d, REAL *restrict x)
{
    LANES for (int64_t i = 0; i < n; i++) {
        const REAL rest = (REAL)(scale * residual[i]), step = b * inverse[i] * rest;
        r[i] = rest;
        d[i] = step;
        x[i] = step;
    }
}

/* Numbers of the unknowns of degree 2, in the order in which the cells come to them: out (cells, 10), of the vertices
   ``ones`` (cells, 4) below ``n``; returns how many.  ``first`` (n) is for work, and ``at`` (n) takes the vertices'
   numbers; edges are listed by their lower vertex: ``next``, ``upper`` and ``own`` have room for 6 cells each. */
int64_t quadratic(int64_t cells, int64_t n, const int32_t *ones, int32_t *first, int32_t *at, int32_t *next,
                  int32_t *upper, int32_t *own, int32_t *out)
{
    int32_t count = 0, edges = 0;
    for (int64_t i = 0; i < n; i++) first[i] = at[i] = -1;
    for (int64_t c = 0; c < cells; c++, ones += 4, out += 10) {
        for (int k = 0; k < 4; k++) {
            if (at[ones[k]] < 0) at[ones[k]] = count++;
            out[k] = at[ones[k]];
        }
        for (int k = 0; k < 6; k++) {
            const int32_t a = ones[ENDS[k][0]], b = ones[ENDS[k][1]], low = a < b ? a : b, high = a < b ? b : a;
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
   added to ``total`` as well.  In blocks, so that no branch is to be foreseen at the fixed unknowns. */
#define BLOCK 64
static inline void raise_from(int64_t n, int count, const int32_t *parent, const REAL *inverse, const REAL *coarse,
                              REAL *restrict fine, REAL *restrict total)
{
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int size = n - first < BLOCK ? (int)(n - first) : BLOCK;
        REAL sum[BLOCK];
        for (int k = 0; k < size; k++, parent += count) {
            sum[k] = coarse[parent[0]] + coarse[parent[1]];
            if (count == 3) sum[k] += coarse[parent[2]];
        }
        LANES for (int k = 0; k < size; k++) {
            const REAL own = inverse[first + k] != 0 ? sum[k] * (REAL)(1.0 / count) : 0;
            fine[first + k] = own;
            total[first + k] += own;
        }
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
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int size = n - first < BLOCK ? (int)(n - first) : BLOCK;
        REAL own[BLOCK];
        LANES for (int k = 0; k < size; k++) {
            const REAL rest = r[first + k] - w[first + k];
            r[first + k] = rest;
            own[k] = inverse[first + k] != 0 ? rest * (REAL)(1.0 / count) : 0;
        }
        for (int k = 0; k < size; k++, parent += count) {
            coarse[parent[0]] += own[k];
            coarse[parent[1]] += own[k];
            if (count == 3) coarse[parent[2]] += own[k];
        }
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

/* x = 0 at some unknowns. */
void clear(int64_t count, const int32_t *which, REAL *x)
{
    for (int64_t k = 0; k < count; k++) x[which[k]] = 0;
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

static inline lanes slice(const int32_t *starts, const int32_t *columns, const REAL *values, const REAL *x)
{
    const anywhere *entry = (const anywhere *)values;
    lanes sum = {0}, other = {0};
    int32_t j = starts[0];
    for (; j + 1 < starts[1]; j += 2) {
        sum += entry[j] * take(columns + W * (int64_t)j, x);
        other += entry[j + 1] * take(columns + W * (int64_t)(j + 1), x);
    }
    if (j < starts[1]) sum += entry[j] * take(columns + W * (int64_t)j, x);
    return sum + other;
}

/* y = a y + b A x */
void times(int64_t n, const int32_t *order, const int32_t *starts, const int32_t *columns, const REAL *values, REAL a,
           REAL b, const REAL *x, REAL *restrict y)
{
    for (int64_t first = 0; first < n; first += W, starts++) {
        const int count = n - first < W ? (int)(n - first) : W;
        const lanes sum = slice(starts, columns, values, x);
        for (int l = 0; l < count; l++) y[order[first + l]] = a * y[order[first + l]] + b * sum[l];
    }
}

/* One step of its smoother: r -= A d; ahead = a d + b D r; x += ahead. */
void polish(int64_t n, const int32_t *order, const int32_t *starts, const int32_t *columns, const REAL *values, REAL a,
            REAL b, const REAL *inverse, const REAL *d, REAL *restrict r, REAL *restrict ahead, REAL *restrict x)
{
    for (int64_t first = 0; first < n; first += W, starts++) {
        const int count = n - first < W ? (int)(n - first) : W;
        const lanes sum = slice(starts, columns, values, d);
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

/* y = A x, A by rows. */
void apply(int64_t n, const int32_t *rows, const int32_t *columns, const REAL *values, const REAL *x, REAL *restrict y)
{
    for (int64_t i = 0; i < n; i++) {
        REAL sum = 0;
        for (int32_t k = rows[i]; k < rows[i + 1]; k++) sum += values[k] * x[columns[k]];
        y[i] = sum;
    }
}

/* The transpose, with ``count`` rows, of a matrix by rows: columns ascend. */
void transpose(int64_t n, const int32_t *rows, const int32_t *columns, const REAL *values, int64_t count,
               int32_t *restrict starts, int32_t *restrict places, REAL *restrict entries)
{
    for (int64_t j = 0; j <= count; j++) starts[j] = 0;
    for (int32_t k = 0; k < rows[n]; k++) starts[columns[k]]++;
    for (int32_t j = 0, next = 0; j <= count; j++) {
        const int32_t length = starts[j];
        starts[j] = next;
        next += length;
    }
    for (int64_t i = 0; i < n; i++)
        for (int32_t k = rows[i]; k < rows[i + 1]; k++) {
            const int32_t at = starts[columns[k]]++;
            places[at] = (int32_t)i;
            entries[at] = values[k];
        }
    for (int64_t j = count; j > 0; j--) starts[j] = starts[j - 1];
    starts[0] = 0;
}
