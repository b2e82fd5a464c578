"""Material forces: by how much the power would change if the nodes of the mesh were moved through the field."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fem_spall.fenics import compile_form, dolfinx, ufl
from fem_spall.solve import Solution, gather

__all__ = ["material_forces"]


def material_forces(solution: Solution) -> NDArray[np.float64]:
    """Material force on each vertex of the mesh arrays, (n, 3) float, W/m, on rank 0; (0, 3) elsewhere.

    F_i = ∫ [(∇φ·σ∇φ) ∇v_i − 2 (σ∇φ·∇v_i) ∇φ] dx with the hat function v_i of the vertex.  If the vertices are
    displaced by q_i while all potentials are kept, the power ∫ σ|∇φ|² changes by Σ F_i·q_i: the energy-momentum
    tensor of Eshelby, tested with q.  Collective.

    Source: J. D. Eshelby, The elastic energy-momentum tensor, J. Elasticity 5 (1975) 321.
    """
    problem, mesh = solution.problem, solution.problem.mesh.mesh
    space = dolfinx.fem.functionspace(mesh, ("Lagrange", 1))
    direction = dolfinx.fem.Constant(mesh, np.zeros(3))
    field, slope = ufl.grad(solution.phi), ufl.grad(ufl.TestFunction(space))
    flow = ufl.dot(problem.sigma, field)
    form = compile_form(
        (ufl.dot(field, flow) * ufl.dot(slope, direction) - 2 * ufl.dot(flow, slope) * ufl.dot(field, direction))
        * ufl.dx(domain=mesh)
    )
    owned = space.dofmap.index_map.size_local
    components = []
    for axis in np.eye(3):
        direction.value[:] = axis
        vector = dolfinx.fem.assemble_vector(form)
        vector.scatter_reverse(dolfinx.la.InsertMode.add)
        components.append(gather(problem, space, vector.array[:owned] * problem.reference_conductivity))
    return np.stack(components, axis=1)
