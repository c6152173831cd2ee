/** Runs one world after another in a thread of its own, as it is told, and tells what came of each. */
import { parentPort } from 'node:worker_threads'
import type { Bug } from './bugs.ts'
import { brokenDown, type Outcome } from './outcome.ts'
import { runWorld } from './world.ts'

export interface Order {
  readonly seed: number
  readonly bug: Bug | null
}

// Errors are made by the thousand and looked at by nobody: their stacks would take a fifth of the time.
Error.stackTraceLimit = 0

const stray: unknown[] = []
process.on('unhandledRejection', (error) => stray.push(error))

async function carryOut({ seed, bug }: Order): Promise<Outcome> {
  stray.length = 0
  try {
    const outcome = await runWorld(seed, { bug })
    return { ...outcome, violations: [...outcome.violations, ...stray.map((error) => `nobody waited for: ${error}`)] }
  } catch (error) {
    return brokenDown(seed, `the world broke down: ${error}`)
  }
}

parentPort?.on('message', (order: Order) => {
  void carryOut(order).then((outcome) => parentPort?.postMessage(outcome))
})
