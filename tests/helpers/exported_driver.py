"""C that tests of exported headers compile: a solver of two equations, ARKODE's order of calls, a mock of SUNDIALS."""

DRIVER = """
#include "pi34.h"
#include "lorenz96.h"
#include "scipy.h"
#include "h0321.h"
#include "h211b.h"
#include "h211b_ark.h"

typedef void (*rhs_t)(double t, const double *y, double *dy);

static void lotka(double t, const double *y, double *dy)
{
    const double xy = y[0] * y[1];
    (void)t;
    dy[0] = 1.5 * y[0] - 1.0 * xy;
    dy[1] = 1.0 * xy - 3.0 * y[1];
}

static void pendulum(double t, const double *y, double *dy)
{
    (void)t;
    dy[0] = y[1];
    dy[1] = -sin(y[0]);
}

/* Dormand and Prince 5(4): a trial step of two equations, and its scaled error */
static double attempt_of(rhs_t f, double t, double h, const double *y, double *y1, double rtol, double atol)
{
    static const double a[7][6] = {
        {0.0, 0.0, 0.0, 0.0, 0.0, 0.0},
        {1.0 / 5, 0.0, 0.0, 0.0, 0.0, 0.0},
        {3.0 / 40, 9.0 / 40, 0.0, 0.0, 0.0, 0.0},
        {44.0 / 45, -56.0 / 15, 32.0 / 9, 0.0, 0.0, 0.0},
        {19372.0 / 6561, -25360.0 / 2187, 64448.0 / 6561, -212.0 / 729, 0.0, 0.0},
        {9017.0 / 3168, -355.0 / 33, 46732.0 / 5247, 49.0 / 176, -5103.0 / 18656, 0.0},
        {35.0 / 384, 0.0, 500.0 / 1113, 125.0 / 192, -2187.0 / 6784, 11.0 / 84}};
    static const double c[7] = {0.0, 1.0 / 5, 3.0 / 10, 4.0 / 5, 8.0 / 9, 1.0, 1.0};
    static const double e[7] = {-71.0 / 57600, 0.0, 71.0 / 16695, -71.0 / 1920, 17253.0 / 339200, -22.0 / 525,
                                1.0 / 40};
    double k[7][2], z[2], sum = 0.0;
    int i, j, m;
    for (i = 0; i < 7; ++i) {
        for (m = 0; m < 2; ++m) {
            double d = 0.0;
            for (j = 0; j < i; ++j) d += a[i][j] * k[j][m];
            z[m] = y[m] + h * d;
        }
        f(t + c[i] * h, z, k[i]);
    }
    for (m = 0; m < 2; ++m) {
        double d = 0.0, scale, size = fabs(y[m]) > fabs(z[m]) ? fabs(y[m]) : fabs(z[m]);
        for (i = 0; i < 7; ++i) d += e[i] * k[i][m];
        scale = atol + rtol * size;
        sum += (h * d / scale) * (h * d / scale);
        y1[m] = z[m];
    }
    return sqrt(sum / 2.0);
}

#define DRIVE(NAME, SCALE, FILL) \\
long drive_##NAME(int which, double h, double t_end, double rtol, double atol, double *out, long most); \\
long drive_##NAME(int which, double h, double t_end, double rtol, double atol, double *out, long most) \\
{ \\
    const rhs_t f = which == 0 ? lotka : pendulum; \\
    double t = 0.0, y[2], y1[2], want = h, factor, err; \\
    long n = 0; \\
    NAME##_state state; \\
    NAME##_attempt a = NAME##_blank(); \\
    NAME##_init(&state); \\
    y[0] = 1.0; \\
    y[1] = 1.0; \\
    while (t < t_end && n < most) { \\
        const int lands = t + want >= t_end; \\
        const int cut = lands && want > t_end - t; \\
        h = lands ? t_end - t : want; \\
        err = attempt_of(f, t, h, y, y1, SCALE * rtol, SCALE * atol); \\
        FILL; \\
        out[3 * n] = h; \\
        out[3 * n + 1] = err; \\
        if (NAME##_decide(&state, &a, &factor)) { \\
            out[3 * n + 2] = 1.0; \\
            t = lands ? t_end : t + h; \\
            y[0] = y1[0]; \\
            y[1] = y1[1]; \\
            want = (cut ? want : h) * factor; \\
        } else { \\
            out[3 * n + 2] = 0.0; \\
            want = h * factor; \\
        } \\
        ++n; \\
    } \\
    return n; \\
}

#define LAW (a.err = err, a.h = h, a.order = 5.0, a.truncated = cut, a.finite = err - err == 0.0)
DRIVE(pi34, PI34_TOLERANCE_SCALE, LAW)
DRIVE(h211b, H211B_TOLERANCE_SCALE, LAW)
DRIVE(h211b_ark, H211B_ARK_TOLERANCE_SCALE, LAW)
DRIVE(scipy, SCIPY_TOLERANCE_SCALE, LAW)
DRIVE(h0321, H0321_TOLERANCE_SCALE, LAW)
DRIVE(lorenz96, LORENZ96_TOLERANCE_SCALE, (LAW, a.t_left = t_end - t, a.span = t_end))

/* ARKODE's order of calls: an estimate after every attempt, an update after one with dsm <= 1 */
#define ARK(NAME) \\
long ark_##NAME(int which, double h, double t_end, double rtol, double atol, double *out, long most, int asks); \\
long ark_##NAME(int which, double h, double t_end, double rtol, double atol, double *out, long most, int asks) \\
{ \\
    const rhs_t f = which == 0 ? lotka : pendulum; \\
    double t = 0.0, y[2], y1[2], dsm, hnew = h; \\
    long n = 0; \\
    int i; \\
    NAME##_arkode content; \\
    NAME##_arkode_init(&content); \\
    y[0] = 1.0; \\
    y[1] = 1.0; \\
    while (t < t_end && n < most) { \\
        dsm = attempt_of(f, t, h, y, y1, rtol, atol); \\
        for (i = 0; i < (dsm <= 1.0 ? asks : 1); ++i) { \\
            if (NAME##_estimate_step(&content, h, 4, dsm, &hnew)) return -1; \\
        } \\
        out[3 * n] = h; \\
        out[3 * n + 1] = dsm; \\
        out[3 * n + 2] = dsm <= 1.0; \\
        ++n; \\
        if (dsm <= 1.0) { \\
            if (NAME##_update_h(&content, h, dsm)) return -1; \\
            t += h; \\
            y[0] = y1[0]; \\
            y[1] = y1[1]; \\
        } \\
        h = hnew; \\
    } \\
    return n; \\
}
ARK(pi34)
ARK(h211b)
ARK(h0321)

int glue(const double *h, const double *dsm, long n, int p, double *hnew);
int glue(const double *h, const double *dsm, long n, int p, double *hnew)
{
    h0321_arkode content;
    long k;
    h0321_arkode_init(&content);
    for (k = 0; k < n; ++k) {
        if (h0321_estimate_step(&content, h[k], p, dsm[k], &hnew[k])) return 1;
        if (dsm[k] <= 1.0 && h0321_update_h(&content, h[k], dsm[k])) return 1;
    }
    return 0;
}
"""

MOCK = """
#include <stdlib.h>
typedef double sunrealtype;
typedef int SUNErrCode;
typedef void *SUNContext;
#define SUN_SUCCESS 0
typedef enum { SUN_ADAPTCONTROLLER_NONE, SUN_ADAPTCONTROLLER_H } SUNAdaptController_Type;
typedef struct ops_ *SUNAdaptController_Ops;
typedef struct c_ { void *content; SUNAdaptController_Ops ops; SUNContext sunctx; } *SUNAdaptController;
struct ops_ {
    SUNAdaptController_Type (*gettype)(SUNAdaptController C);
    SUNErrCode (*estimatestep)(SUNAdaptController C, sunrealtype h, int p, sunrealtype dsm, sunrealtype *hnew);
    SUNErrCode (*reset)(SUNAdaptController C);
    SUNErrCode (*updateh)(SUNAdaptController C, sunrealtype h, sunrealtype dsm);
};
static SUNAdaptController SUNAdaptController_NewEmpty(SUNContext sunctx)
{
    SUNAdaptController C = (SUNAdaptController)calloc(1, sizeof(struct c_));
    C->ops = (SUNAdaptController_Ops)calloc(1, sizeof(struct ops_));
    C->sunctx = sunctx;
    return C;
}
static SUNErrCode SUNAdaptController_Destroy(SUNAdaptController C)
{
    free(C->content);
    free(C->ops);
    free(C);
    return 0;
}
#define STEPSMITH_ARKODE
"""

MAIN = """
#include <stdio.h>
int main(void)
{
    double once = 0.0, again = 0.0, backwards = 0.0;
    SUNAdaptController C = @_sunadaptcontroller(NULL);
    if (C->ops->gettype(C) != SUN_ADAPTCONTROLLER_H) return 1;
    if (C->ops->estimatestep(C, 0.1, 4, 0.3, &once)) return 2;
    if (C->ops->updateh(C, 0.1, 0.3) || C->ops->estimatestep(C, 0.1, 4, 0.7, &again) || C->ops->reset(C)) return 3;
    if (C->ops->estimatestep(C, -0.1, 4, 0.3, &backwards) || backwards != -once) return 4;
    printf("%.17g %.17g", once, again);
    return SUNAdaptController_Destroy(C);
}
"""
