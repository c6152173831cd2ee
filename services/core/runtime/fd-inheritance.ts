import { openSync } from 'node:fs'

/**
 * Descriptors of this process that lack close-on-exec, because a native module opened them: every child would inherit
 * them, and keep them for as long as it lives. Node cannot set the flag afterwards, but it can put another file in the
 * child's place of them.
 */
const withheld = new Set<number>()
let nothing: number | undefined

/** Keeps a descriptor from children that are spawned with `childStdio`, until disposed. */
export function withholdFromChildren(descriptor: number): Disposable {
  withheld.add(descriptor)
  return { [Symbol.dispose]: () => void withheld.delete(descriptor) }
}

/** The `stdio` of a child with three pipes, and /dev/null where it would inherit what is withheld. */
export function childStdio(): ('pipe' | 'ignore' | number)[] {
  const stdio: ('pipe' | 'ignore' | number)[] = ['pipe', 'pipe', 'pipe']
  if (withheld.size === 0) return stdio
  nothing ??= openSync('/dev/null', 'r+')
  for (let place = stdio.length; place <= Math.max(...withheld); place += 1) {
    stdio.push(withheld.has(place) ? nothing : 'ignore') // past the third, 'ignore' opens nothing
  }
  return stdio
}
