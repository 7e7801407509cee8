"""The one place that decorates kernels.

Compiled code is kept on disk below a folder named by a digest of all kernel sources, because numba
does not notice a change in another file and would run stale code. The folder must belong to the
user alone: numba's cache index is executable data.
"""

import ctypes
import hashlib
import os
import re
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path

import llvmlite.ir
import numba
import numba.core.codegen
import numba.core.compiler
import numba.core.imputils
import numba.core.typing.templates
import numba.extending


def _source_digest() -> str:
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for source in [*sorted(folder.glob("*.py")), folder.parent / "constants.py"]:
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> Path | None:
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
        folder = Path(root) / "perfmodel" / "jit" / _source_digest()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except (OSError, RuntimeError):  # no home, or none that can be written
        return None
    shared = bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    if status.st_uid != os.getuid() or shared or not os.access(folder, os.W_OK):
        return None
    _sweep(folder)
    return folder


_DAY = 24 * 60 * 60
_KEPT_DAYS = 7


def _sweep(folder: Path) -> None:
    """Remove code of other versions that nobody has used for days; this one is used now."""
    with suppress(OSError):
        os.utime(folder)
        oldest = time.time() - _KEPT_DAYS * _DAY
        for other in folder.parent.iterdir():
            status = other.lstat()
            if (
                re.fullmatch(r"[0-9a-f]{16}", other.name)
                and stat.S_ISDIR(status.st_mode)
                and status.st_uid == os.getuid()
                and status.st_mtime < oldest
            ):
                shutil.rmtree(other, ignore_errors=True)


CACHE_FOLDER = _cache_folder()
if CACHE_FOLDER is not None:
    numba.config.CACHE_DIR = str(CACHE_FOLDER)

# A kernel takes over from its first caller what it does not say itself, `forceinline` too.
_OPTIONS = {
    "cache": CACHE_FOLDER is not None,
    "nogil": True,
    "error_model": "numpy",
    "forceinline": False,
}


class _Environments:
    """Says to numba that a part has got its environment, which it never needs."""

    def set_env(self, name, environment):
        pass


class _PartLibrary(numba.core.codegen.JITCodeLibrary):
    """Code of a kernel that only kernels call.

    numba would optimise it and make machine code of it together with all that it calls, once more
    for each of its callers, and then do it all again for the kernel that Python calls. Here it
    stays as it is until such a kernel takes it in.
    """

    codegen = _Environments()
    _with_parts = None

    def finalize(self):
        self._raise_if_finalized()
        self._finalized = True

    def get_pointer_to_function(self, name):
        return 0

    def own_module(self):
        return super()._get_module_for_linking()

    def _get_module_for_linking(self):
        # For a caller that is none of ours.
        if self._with_parts is None:
            self._with_parts = self.own_module().clone()
            _link_all_below(self, self._with_parts)
        return self._with_parts


class _WholeLibrary(numba.core.codegen.JITCodeLibrary):
    """Code of a kernel that Python calls, and of all kernels that it needs."""

    def finalize(self):
        for library in _libraries_below(self):
            self._reload_init.update(library._reload_init)
        _link_all_below(self, self._final_module)
        self._linking_libraries = []
        super().finalize()


def _link_all_below(library, module):
    """Take the code of all libraries that one needs into a module of its."""
    for below in _libraries_below(library):
        part = isinstance(below, _PartLibrary)
        code = (below.own_module() if part else below._get_module_for_linking()).clone()
        # What nobody has asked for yet would be left out, and who asks may come later.
        _set_linkage(code, "linkonce_odr", "weak_odr")
        module.link_in(code)
    _set_linkage(module, "weak_odr", "linkonce_odr")


def _set_linkage(module, old, new):
    for function in module.functions:
        if not function.is_declaration and function.linkage.name == old:
            function.linkage = new


def _libraries_below(library):
    """All libraries that one needs, each once; others than parts have in them what they need."""
    found = {}
    waiting = list(library._linking_libraries)
    while waiting:
        below = waiting.pop()
        if below not in found:
            found[below] = None
            if isinstance(below, _PartLibrary):
                waiting += below._linking_libraries
    return list(found)


class _Compiler(numba.core.compiler.Compiler):
    library_class = _WholeLibrary

    def define_pipelines(self):
        state = self.state
        library = state.targetctx.codegen().create_library(state.func_id.func_qualname)
        library.enable_object_caching()
        library.__class__ = self.library_class
        state.library = library
        return super().define_pipelines()


class _PartCompiler(_Compiler):
    library_class = _PartLibrary


def kernel(function):
    """Compile a kernel: no Python objects, no allocation, no fast-math, one specialisation."""
    return numba.njit(pipeline_class=_Compiler, **_OPTIONS)(function)


_INNER = _OPTIONS | {
    "cache": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "_nrt": False,
    "pipeline_class": _PartCompiler,
}


def inner_kernel(function):
    """The same for what only other kernels call."""
    return numba.njit(**_INNER)(function)


def inline_kernel(function):
    """The same for a few lines that are called everywhere: they become part of their callers."""
    return numba.njit(**_INNER | {"forceinline": True})(function)


class _Reference(numba.types.Type):
    """Where a named tuple lies, which is one word to hand on instead of all its arrays' parts."""

    def __init__(self, target):
        self.target = target
        super().__init__(name=f"Reference({target})")


@numba.extending.register_model(_Reference)
class _ReferenceModel(numba.extending.models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        target = dmm.lookup(fe_type.target).get_value_type()
        super().__init__(dmm, fe_type, target.as_pointer())


@numba.core.typing.templates.infer_getattr
class _ReferenceAttribute(numba.core.typing.templates.AttributeTemplate):
    key = _Reference

    def generic_resolve(self, reference, name):
        fields = reference.target.fields
        return reference.target[fields.index(name)] if name in fields else None


def _load_constant(builder, place):
    """Load what nobody changes, part by part, so that the compiler need not load it again."""
    kind = place.type.pointee
    if isinstance(kind, llvmlite.ir.BaseStructType | llvmlite.ir.ArrayType):
        value = kind(llvmlite.ir.Undefined)
        size = kind.count if isinstance(kind, llvmlite.ir.ArrayType) else len(kind.elements)
        for index in range(size):
            part = numba.core.cgutils.gep_inbounds(builder, place, 0, index)
            value = builder.insert_value(value, _load_constant(builder, part), index)
        return value
    value = builder.load(place)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


@numba.core.imputils.lower_getattr_generic(_Reference)
def _get_attribute(context, builder, reference, place, name):
    index = reference.target.fields.index(name)
    part = _load_constant(builder, numba.core.cgutils.gep_inbounds(builder, place, 0, index))
    return numba.core.imputils.impl_ret_borrowed(context, builder, reference.target[index], part)


def _refer(typing_context, target):
    def generate(context, builder, signature, arguments):
        place = numba.core.cgutils.alloca_once_value(builder, arguments[0])
        # What was stored here must not be taken for what is loaded as constant.
        launder = llvmlite.ir.FunctionType(place.type, [place.type])
        return builder.asm(launder, "", "=r,0,~{memory}", [place], side_effect=True)

    return _Reference(target)(target), generate


def memory_call(name):
    """A C library's function of an address, a size and a number, such as madvise, for kernels.

    Compiled kernels look its name up where the process finds all of its functions, so that they are
    kept on disk like others.
    """
    if not JIT:
        function = getattr(ctypes.CDLL(None), name)
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        return function
    return types.ExternalFunction(name, types.int32(types.int64, types.int64, types.int32))


types = numba.types
cgutils = numba.core.cgutils
JIT = not numba.config.DISABLE_JIT


def _itself(target):
    return target


# Of a named tuple of arrays: what a kernel hands on to others. Valid until the kernel returns.
refer = numba.extending.intrinsic(_refer) if JIT else _itself


def intrinsic(plain, *, constants=False):
    """A few machine instructions that numba has no words for; `plain` does the same without JIT.

    Decorates a function that takes numba's typing context and argument types, as numba asks for;
    with `constants` it gets the values of arguments that the compiler knows.
    """

    def decorate(typed):
        if not JIT:
            return plain
        return numba.extending.intrinsic(prefer_literal=constants)(typed)

    return decorate
