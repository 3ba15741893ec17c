// Four neighbours, which are fetched at once (of float64, two at a time) from an address that is a multiple
// of 16.
#pragma once

struct __align__(16) Four {
    real of[4];
};
