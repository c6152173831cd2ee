import { createRequire } from 'node:module'

/** Why a test cannot be run that wants a native module, for its `skip`; false where that was compiled. */
export function without(module: 'node-inotify' | 'unix-dgram'): string | false {
  try {
    createRequire(import.meta.url)(module)
    return false
  } catch {
    return `${module} was not compiled here`
  }
}
