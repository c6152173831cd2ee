import { openSync } from 'node:fs'

/**
 * Descriptors without close-on-exec, opened by a native module: every child would inherit and keep them. Node cannot set the
 * flag afterwards, but it can give the child another file in their place.
 */
const withheld = new Set<number>()
let nothing: number | undefined

/** Withholds a descriptor from children that are spawned with `childStdio`, until disposed. */
export function withholdFromChildren(descriptor: number): Disposable {
  withheld.add(descriptor)
  return { [Symbol.dispose]: () => void withheld.delete(descriptor) }
}

/** The `stdio` of a child: three pipes, and /dev/null in place of each withheld descriptor. */
export function childStdio(): ('pipe' | 'ignore' | number)[] {
  const stdio: ('pipe' | 'ignore' | number)[] = ['pipe', 'pipe', 'pipe']
  if (withheld.size === 0) return stdio
  nothing ??= openSync('/dev/null', 'r+')
  for (let place = stdio.length; place <= Math.max(...withheld); place += 1) {
    stdio.push(withheld.has(place) ? nothing : 'ignore') // past the third, 'ignore' opens nothing
  }
  return stdio
}
