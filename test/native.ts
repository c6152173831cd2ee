import { createRequire } from 'node:module'

/** Why a test that needs a native module is skipped, for its `skip`; false where the module was compiled. */
export function without(module: 'node-inotify' | 'unix-dgram'): string | false {
  try {
    createRequire(import.meta.url)(module)
    return false
  } catch {
    return `${module} was not compiled here`
  }
}
