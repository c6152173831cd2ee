/** The calls of this process into the file system, so that a test can act between any two of them. */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

type Api = Record<string, unknown>
type Hook = (name: string, args: readonly unknown[]) => void

/** Tells of each call into the file system, just before it is made, until disposed. Calls that the hook makes are not told of. */
export function beforeEachCall(hook: (name: string, args: readonly unknown[]) => void): Disposable {
  let isInHook = false
  const told: Hook = (name, args) => {
    if (isInHook) return
    isInHook = true
    try {
      hook(name, args)
    } finally {
      isInHook = false
    }
  }
  const wrapped = [...wrap(fs as unknown as Api, told), ...wrap(fs.promises as unknown as Api, told)]
  syncBuiltinESMExports()
  return {
    [Symbol.dispose]: () => {
      for (const { api, name, call } of wrapped) api[name] = call
      syncBuiltinESMExports()
    },
  }
}

/** Functions that are classes, or make none of the calls that matter. */
const LEFT_ALONE = /^([A-Z_]|close|createReadStream|createWriteStream|watch|unwatch)/

function wrap(api: Api, told: Hook): { readonly api: Api; readonly name: string; readonly call: unknown }[] {
  const found = Object.keys(api).filter((name) => typeof api[name] === 'function' && !LEFT_ALONE.test(name))
  return found.map((name) => {
    const call = api[name] as (...args: unknown[]) => unknown
    api[name] = (...args: unknown[]): unknown => {
      told(name, args)
      return call(...args)
    }
    return { api, name, call }
  })
}

/** Counts how often folders are opened, until disposed. */
export function countFolderOpens(): Disposable & { readonly opens: number } {
  let opens = 0
  const calls = beforeEachCall((name, [, flags]) => {
    if (name === 'openSync' && ((flags as number) & fs.constants.O_DIRECTORY) !== 0) opens += 1
  })
  return {
    get opens() {
      return opens
    },
    [Symbol.dispose]: () => calls[Symbol.dispose](),
  }
}
