import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * For programs that mostly wait: the engine keeps its young generation small and compiles less, with its quick compiler
 * only (the other one alone brings 5 MB of its own code into memory). Measured on keepalive, bundled: 13 MB of 41 less, and
 * no dearer where there is little to do. It counts from here on, for the whole process.
 */
export function runLean(): void {
  setFlagsFromString('--optimize-for-size')
  setFlagsFromString('--no-opt')
}

/**
 * For a program that mostly waits too, but must not be held up when it has much to do: a young generation that never grows is
 * gone through in a few milliseconds. Measured on the watchdog with 100,000 sessions: no pause of more than 7 ms, where there
 * were some of 59; idle, bundled: 2 MB more than lean.
 */
export function runSmoothly(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
  setFlagsFromString('--no-opt')
}

/**
 * For a program that must be quick under load, once it has started: throws away what starting took, which the engine would
 * keep for as long as nothing is asked of it. A pause of some 15 ms. Measured on the bridge, bundled: 5 MB of 43 less.
 */
export function forgetStart(): void {
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  collect()
}
