"""What parameter sets declare, what they store, and what refuses to be stored."""

from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import pytest

from sims import registry
from sims.errors import UserError
from sims.own.callable_system import CallableSystem
from sims.parameters import check, choice, number, whole
from sims.systems import cartpole, halfcheetah, hopper

NAMES = [*registry.names(), "gym:HalfCheetah-v5"]


@dataclass(frozen=True)
class Cart:
    mass: float = number(sign="positive")
    drag: float = number(0.0, sign="nonnegative")
    slope: float = number(0.0)
    radii: tuple[float, ...] = number((0.1, 0.2), sign="positive", shape=(2,))
    table: tuple[float, ...] = number((1.0,), shape=(None,))
    frame: tuple[tuple[float, ...], ...] = number(((1.0, 0.0), (0.0, 1.0)), shape=(2, 2))
    gravity: float = number(9.81, randomise=False)
    tyres: str = choice("rubber", ("rubber", "steel"))
    steps: int = whole(10, least=1)
    brakes: bool = True

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class Spring:
    """Of somebody who declares nothing."""

    mass: float = 1
    coils: int = 7
    note: str = "bought"


def test_numbers_of_any_kind_are_stored_as_plain_floats():
    cart = Cart(
        mass=2,
        drag=np.float32(0.5),
        radii=[1, np.int64(2)],
        table=np.arange(3),
        frame=np.eye(2),
        steps=3,
    )
    assert cart == Cart(
        2.0, 0.5, 0.0, (1.0, 2.0), (0.0, 1.0, 2.0), ((1.0, 0.0), (0.0, 1.0)), steps=3
    )
    flat = [cart.mass, cart.drag, *cart.radii, *cart.table, *cart.frame[0], *cart.frame[1]]
    assert {type(x) for x in flat} == {float} and type(cart.steps) is int
    assert {type(x) for x in (cart.radii, cart.table, cart.frame, cart.frame[0])} == {tuple}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mass": 0}, "mass is 0; it must be a positive number"),
        ({"mass": True}, "mass is True; it must be a positive number"),
        ({"mass": "2"}, "mass is '2'; it must be a positive number"),
        ({"mass": None}, "mass is None; it must be a positive number"),
        ({"mass": 10**400}, "it must be a positive number"),
        ({"mass": (2.0,)}, r"mass is \(2.0,\); it must be a positive number"),
        ({"drag": -1e-9}, "drag is -1e-09; it must be a number >= 0"),
        ({"slope": float("inf")}, "slope is inf; it must be a finite number"),
        ({"slope": np.nan}, "slope is nan; it must be a finite number"),
        ({"radii": (0.1,)}, r"radii is \(0.1,\); it must be 2 positive numbers"),
        ({"radii": (0.1, 0.0)}, "it must be 2 positive numbers"),
        ({"radii": (0.1, True)}, "it must be 2 positive numbers"),
        ({"radii": ("1", "2")}, "it must be 2 positive numbers"),
        ({"radii": "12"}, "it must be 2 positive numbers"),
        ({"radii": 0.1}, "it must be 2 positive numbers"),
        ({"radii": np.float64(0.1)}, "it must be 2 positive numbers"),
        ({"table": (1.0, "x")}, "it must be a tuple of finite numbers"),
        ({"frame": ((1, 0), (0,))}, "it must be 2x2 finite numbers"),
        ({"tyres": "wood"}, "tyres is 'wood'; use one of rubber, steel"),
        ({"tyres": ["rubber"]}, "use one of rubber, steel"),
        ({"steps": 0}, "steps is 0; it must be a whole number >= 1"),
        ({"steps": 2.0}, "steps is 2.0; it must be a whole number >= 1"),
        ({"steps": True}, "steps is True; it must be a whole number >= 1"),
        ({"brakes": 1}, "brakes is 1; use true or false"),
        ({"brakes": "no"}, "brakes is 'no'; use true or false"),
    ],
)
def test_what_a_field_does_not_declare_is_refused(change, message):
    with pytest.raises(UserError, match=message) as refused:
        Cart(**{"mass": 1.0, **change})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", NAMES)
def test_every_set_of_every_system_refuses_flags_and_words_for_numbers(name):
    system = registry.get(name)
    tried = 0
    for parameters in system.parameter_sets.values():
        for each in fields(parameters):
            value = getattr(parameters, each.name)
            if isinstance(value, bool | str):
                wrong = [1, "maybe"]
            elif isinstance(value, tuple):
                wrong = [True, tuple(True for _ in value), tuple("1" for _ in value)]
            else:
                wrong = [True, "1", None]
            for bad in wrong:
                with pytest.raises(UserError, match=each.name):
                    replace(parameters, **{each.name: bad})
                tried += 1
    assert tried >= 30


@pytest.mark.parametrize("name", NAMES)
def test_whole_values_hash_like_their_floats(name):
    system = registry.get(name)
    nominal = system.parameters("nominal")
    field = next(f.name for f in fields(nominal) if type(getattr(nominal, f.name)) is float)
    one, same = (replace(nominal, **{field: value}) for value in (3, 3.0))
    assert one == same and type(getattr(one, field)) is float
    assert system.model_hash(one) == system.model_hash(same) != system.model_hash(nominal)


def test_a_mass_in_a_file_that_lacks_its_point_is_varied_all_the_same(tmp_path, rng):
    path = tmp_path / "airplane.yaml"
    path.write_text("base: real\nmass: 1\n")
    drawn = [registry.get("airplane").randomise(rng, str(path), 0.2).mass for _ in range(50)]
    assert 0.8 <= min(drawn) < 0.85 and 1.15 < max(drawn) <= 1.2


def test_what_counts_or_is_declared_fixed_is_not_varied(rng):
    system = registry.get("hopper")
    base = system.parameters("real")
    drawn = system.randomise(rng, base, 0.3)
    fixed = {n for n, value in asdict(drawn).items() if value == getattr(base, n) != 0.0}
    assert fixed == {
        "lower",
        "upper",
        "limit_depth",
        "gravity",
        "substeps",
        "mass_matrix_period",
    } | {
        "stiffness"  # all 0
    }


def own(parameters):
    def step(state, action, p):
        return state + 0.1 * action / p.mass

    def reward(state, action, next_state):
        return -(next_state[..., 0] ** 2)

    return CallableSystem(
        "slider",
        step,
        reward,
        state={"v": "m/s"},
        action={"force": ("N", -1.0, 1.0)},
        dt=0.1,
        start={"v": (-1.0, 1.0)},
        parameters=parameters,
    )


def test_whole_numbers_of_own_systems_are_numbers_like_others(rng, tmp_path):
    system = own({"nominal": {"mass": 1, "drag": (1, 2)}, "real": {"mass": 2}})
    assert asdict(system.parameters("real")) == {"mass": 2.0, "drag": (1.0, 2.0)}
    drawn = [system.randomise(rng, "real", 0.1) for _ in range(50)]
    assert 1.8 <= min(d.mass for d in drawn) < 1.85
    assert len({d.drag for d in drawn}) == 50
    for bad in ({"mass": True}, {"mass": (1, 2)}, {"drag": 1}):
        with pytest.raises(UserError, match=f"parameter set 'real': {next(iter(bad))} is"):
            own({"nominal": {"mass": 1, "drag": (1, 2)}, "real": bad})


def test_a_dataclass_of_ones_own_is_held_to_its_types(rng, tmp_path):
    system = own({"nominal": Spring(), "real": Spring(mass=3)})
    real = system.parameters("real")
    assert type(real.mass) is float and type(real.coils) is int
    drawn = system.randomise(rng, "real", 0.1)
    assert drawn.mass != 3.0 and (drawn.coils, drawn.note) == (7, "bought")
    path = tmp_path / "spring.yaml"
    path.write_text("mass: 4\n")
    assert type(system.parameters(str(path)).mass) is float
    path.write_text("mass: heavy\n")
    with pytest.raises(UserError, match=r"spring.yaml: mass is 'heavy'; it must be a finite"):
        system.parameters(str(path))
    with pytest.raises(UserError, match=r"set 'real': coils is 1\.5; it must be a whole"):
        own({"nominal": Spring(), "real": Spring(coils=1.5)})


def test_models_of_sets_follow_from_their_names():
    assert registry.get("ant").nominal_name("real") == "nominal"
    cart = registry.get("cartpole")
    modelled = {name: cart.nominal_name(name) for name in cart.parameter_sets}
    assert modelled == {
        "nominal": "nominal",
        "real": "nominal",
        "published": "published_nominal",
        "published_nominal": "published_nominal",
    }
    assert cart.nominal_name("published_but_mine.yaml") == "nominal"


@pytest.mark.parametrize("name", NAMES)
def test_starts_are_the_same_one_by_one_or_with_a_batch_of_one(name):
    system = registry.get(name)
    one, many = (system.reset(np.random.default_rng(5), "real", n) for n in (None, 1))
    assert one.dtype == many.dtype == np.float32 and many.shape == (1, system.state.size)
    np.testing.assert_array_equal(one, many[0])
    with pytest.raises(UserError, match="no parameter set 'rael'"):
        system.reset(np.random.default_rng(5), "rael")
    with pytest.raises(ValueError, match="read-only"):
        system.safe_action[0] = 1.0


@pytest.mark.parametrize(
    ("module", "kind", "constant"),
    [
        (hopper, hopper.Hopper, "EFFORT"),
        (hopper, hopper.Hopper, "SINKING"),
        (halfcheetah, halfcheetah.HalfCheetah, "EFFORT"),
        (cartpole, cartpole.Cartpole, "FLOOR"),
    ],
)
def test_another_reward_is_another_specification(monkeypatch, module, kind, constant):
    before = kind().spec_hash
    assert before == kind().spec_hash
    monkeypatch.setattr(module, constant, 2.0 * getattr(module, constant))
    assert kind().spec_hash != before


def test_rewards_keep_their_words():
    words = registry.get("rexquadrotor").reward_description
    assert words == (
        "exp(2 - c/2), c = (10 |r|^2 + 10 |p|^2 + |v|^2 + |w|^2)/200 + 1e-4 |a|^2/20 at the next "
        "state; terminated with reward 0 where c > 500 or not finite"
    )
    assert registry.get("rexquadrotor").spec_hash.startswith("be4effbfda651160")
