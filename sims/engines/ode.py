"""Kernels for small systems of ordinary differential equations, from the right-hand side alone.

A system writes its derivative once, as a function of scalars in ordinary Warp arithmetic:

    def derivative(angle: Any, rate: Any, torque: Any, p: Any) -> Any:
        return rate, (torque - p.mass * p.gravity * p.length * wp.sin(angle)) / p.inertia

The arguments are the state coordinates, the actions and the parameters, in this order; the result
is the time derivative of every state coordinate. `ode_kernels` makes from it a Runge-Kutta step of
fourth order per control period in float32 and float64, and the exact Jacobian of that step by dual
numbers (`sims.engines.dual`).

The derivative may use + - * / ** and comparisons, `if`, the functions abs, atan2, clamp, cos, exp,
max, min, sin, sqrt, tanh and where of Warp, and call other functions of scalars by their names, if
these keep to the same rules. In max and min the second argument, and in clamp the bounds, are
constants or parameters. A variable keeps its kind: what `if` changes into something that depends on
the state has to depend on it before, else `wp.where` is the way. Literals have the precision of
float32: numbers such as 9.81 belong into the parameters.

What Warp compiles is Python source that is made here: the translated derivative, and kernels with
as many coordinates as the system has.
"""

import ast
import hashlib
import inspect
import linecache
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import warp as wp

from sims.engines.dual import Numbers, dual_numbers, kernel_module
from sims.engines.records import NUMBER, records
from sims.engines.validity import REACH
from sims.engines.warp_model import Kernels
from sims.errors import UserError

OPERATORS = ("add", "sub", "mul", "div", "pow", "neg", "less")
_FLAG = (wp.bool, wp.bool)
# annotations are strings where the user's module or `make_dataclass` makes them so
FIELD_TYPES = {
    **dict.fromkeys((float, "float", Any, "typing.Any"), NUMBER),
    **dict.fromkeys((bool, "bool"), _FLAG),
}


def ode_kernels(
    derivative: Callable[..., Any],
    parameters: type,
    *,
    actions: int = 1,
    wrap: Mapping[str, float] | None = None,
    limit: Mapping[str, float] | None = None,
) -> Kernels:
    """Makes the kernels of a system; see this module's description.

    Args:
        derivative: (state coordinates..., actions..., p) -> tuple of time derivatives.
        parameters: Dataclass of the parameters. Its fields of type float, bool and Any (a number),
            and the control period `dt` (s), are what p has.
        actions: How many of the arguments are actions.
        wrap: Angles by name of the argument, and the lower end of the turn (rad) in which they are
            after every step.
        limit: Coordinates that are clamped after every step, and the bound of their absolute
            value. Where it acts the derivatives of the coordinate are zero.

    Raises:
        UserError: The function or the parameters are not of this form.
    """
    function = getattr(derivative, "func", derivative)  # whether it is decorated by wp.func or not
    names = list(inspect.signature(function).parameters)
    count = len(names) - 1 - actions
    if actions < 1 or count < 1:
        raise UserError(
            f"{function.__name__}({', '.join(names)}) must take at least one state coordinate, "
            f"{actions} action(s) and the parameters"
        )
    for name in (*(wrap or {}), *(limit or {})):
        if name not in names[:count]:
            raise UserError(
                f"{name!r} is no state coordinate; these are {', '.join(names[:count])}"
            )
    num = dual_numbers(count + actions)
    record_fields = _fields(parameters)
    source = _kernel_source(names[:count], actions, wrap or {}, limit or {})
    # kernels made twice from one function, with other options, must not meet in one Warp module
    digest = hashlib.sha256(f"{source}{sorted(record_fields)}".encode()).hexdigest()[:8]
    module = kernel_module(f"{function.__module__}.{function.__name__}_{digest}").name
    record, record64 = records(record_fields, module)
    action_type = wp.types.vector(actions, wp.float32)
    action_type64 = wp.types.vector(actions, wp.float64)
    scope = {
        **_language(num),
        "derivative": _translated(function, num, module),
        "Record": record,
        "Record64": record64,
        "Action": action_type,
        "Action64": action_type64,
        "Any": Any,
        "num": num,
        "MODULE": module,
    }
    _execute(source, f"<kernels of {module}>", scope)

    def pack(values: Any, dt: float) -> dict[str, Any]:
        return {name: getattr(values, name) for name in record_fields if name != "dt"} | {"dt": dt}

    return Kernels(
        step=scope["step"],
        step64=scope["step64"],
        linearize=scope["linearize"],
        record=record,
        record64=record64,
        state_type=wp.float32,
        state_type64=wp.float64,
        action_type=action_type,
        action_type64=action_type64,
        tangent=num.tangent,
        pack=pack,
        reach=REACH,  # a derivative may contain anything
    )


def _fields(parameters: type) -> dict[str, Any]:
    """Names and types of what kernels get: the numbers among the parameters, and dt."""
    if not (isinstance(parameters, type) and is_dataclass(parameters)):
        raise UserError(f"the parameters must be a dataclass, not {parameters!r}")
    kinds = {field.name: field.type for field in fields(parameters)} | {"dt": float}
    return {name: FIELD_TYPES[kind] for name, kind in kinds.items() if kind in FIELD_TYPES}


class _Language:
    """Warp as a derivative sees it: with functions that also know duals."""

    def __init__(self, num: Numbers) -> None:
        self._num = num

    def __getattr__(self, name: str) -> Any:
        return getattr(self._num, name) if name in Numbers._fields else getattr(wp, name)


def _language(num: Numbers) -> dict[str, Any]:
    """Names that translated functions use."""
    return {"wp": wp, **{name: getattr(num, name) for name in OPERATORS}}


class _Operators(ast.NodeTransformer):
    """Rewrites what Warp does not let us define for duals: -a, comparisons, whole numbers."""

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Tuple) and len(node.value.elts) == 1:
            node.value = node.value.elts[0]  # Warp has no tuples of one
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            return _call("neg", node.operand)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(float(node.value)) if type(node.value) is int else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if not isinstance(node.target, ast.Name):
            return node
        value = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
        return ast.Assign([node.target], self.visit(value))

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) > 1:
            return node
        left, right, operator = node.left, node.comparators[0], node.ops[0]
        if isinstance(operator, ast.Lt):
            return _call("less", left, right)
        if isinstance(operator, ast.Gt):
            return _call("less", right, left)
        if isinstance(operator, ast.LtE):
            return ast.UnaryOp(ast.Not(), _call("less", right, left))
        if isinstance(operator, ast.GtE):
            return ast.UnaryOp(ast.Not(), _call("less", left, right))
        return node


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _translated(function: Any, num: Numbers, module: str) -> Any:
    """A Warp function for numbers of every kind, from a function of scalars."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise UserError(f"{function.__qualname__} must be an ordinary function, written with def")
    definition.decorator_list, definition.returns = [], None
    for argument in definition.args.args:
        argument.annotation = ast.Name("Any", ast.Load())
    tree = ast.fix_missing_locations(_Operators().visit(tree))
    outside = inspect.getclosurevars(function)
    scope = {**function.__globals__, **outside.nonlocals, **_language(num), "Any": Any}
    for name, value in {**outside.globals, **outside.nonlocals}.items():
        inner = getattr(value, "func", value)
        if value is wp:
            scope[name] = _Language(num)
        elif isinstance(value, wp.Function) and value.is_builtin() and value.key in Numbers._fields:
            scope[name] = getattr(num, value.key)
        elif inspect.isfunction(inner) and inner is not function:
            scope[name] = _translated(inner, num, module)
    _execute(ast.unparse(tree), f"<{module}: {function.__qualname__}>", scope)
    return wp.func(scope[definition.name], module=wp.get_module(module))


def _execute(source: str, file: str, scope: dict[str, Any]) -> None:
    """Runs generated source; Warp finds its text by the name of the file."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), scope)


def _kernel_source(
    names: list[str], actions: int, wrap: Mapping[str, float], limit: Mapping[str, float]
) -> str:
    """Source of the kernels, for one number of state coordinates x and actions u."""
    n, m = len(names), actions

    def each(text: str, count: int = n, between: str = ", ") -> str:
        """The text for every coordinate, with its number in place of #."""
        return between.join(text.replace("#", str(j)) for j in range(count))

    def after(j: int) -> str:
        """Coordinate j as it is in the end."""
        result, real = f"x{j}", "type(p.dt)"
        if names[j] in wrap:
            result = f"num.wrap({result}, {real}({float(wrap[names[j]])!r}))"
        if names[j] in limit:
            bound = float(limit[names[j]])
            result = f"num.clamp({result}, {real}({-bound!r}), {real}({bound!r}))"
        return result

    def step(name: str, record: str, real: str, action: str) -> str:
        return f"""
@wp.kernel(module=MODULE)
def {name}(
    records: wp.array(dtype={record}),
    state: wp.array2d(dtype={real}),
    action: wp.array(dtype={action}),
    next_state: wp.array2d(dtype={real}),
):
    i = wp.tid()
    p = records[i % records.shape[0]]
    u = action[i]
    {each("x#")} = advance({each("state[i, #]")}, {each("u[#]", m)}, p)
    {each("next_state[i, #] = x#", between="; ")}
"""

    return f"""
@wp.func
def advance({each("x#: Any")}, {each("u#: Any", m)}, p: Any):
    half = 0.5 * p.dt
    sixth = p.dt / 6.0
    {each("a#")} = derivative({each("x#")}, {each("u#", m)}, p)
    {each("b#")} = derivative({each("x# + half * a#")}, {each("u#", m)}, p)
    {each("c#")} = derivative({each("x# + half * b#")}, {each("u#", m)}, p)
    {each("d#")} = derivative({each("x# + p.dt * c#")}, {each("u#", m)}, p)
    {each("x# = x# + sixth * (a# + 2.0 * (b# + c#) + d#)", between="; ")}
    return {", ".join(after(j) for j in range(n))}

{step("step", "Record", "wp.float32", "Action")}
{step("step64", "Record64", "wp.float64", "Action64")}

@wp.kernel(module=MODULE)
def linearize(
    records: wp.array(dtype=Record),
    state: wp.array2d(dtype=wp.float32),
    action: wp.array(dtype=Action),
    next_state: wp.array2d(dtype=wp.float32),
    jacobian: wp.array2d(dtype=num.tangent),
):
    i = wp.tid()
    p = records[i % records.shape[0]]
    u = action[i]
    {each("x#")} = advance(
        {each("num.seed(state[i, #], #)")},
        {each(f"num.seed(u[#], {n} + #)", m)},
        p,
    )
    {each("jacobian[i, #] = x#.d", between="; ")}
"""
