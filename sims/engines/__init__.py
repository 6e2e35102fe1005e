"""How dynamics are stepped and differentiated: Warp with dual numbers, MuJoCo, differences."""
