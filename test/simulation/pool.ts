import { Worker } from 'node:worker_threads'
import type { Bug } from './bugs.ts'
import { brokenDown, type Outcome } from './outcome.ts'
import type { Order } from './worker.ts'

/** A world that has not ended by then never will: something goes round in it for ever. */
const WORLD_TIMEOUT_MS = 300_000

/** Runs worlds on so many threads, in order, and hands each outcome over as it comes. */
export async function runWorlds(
  seeds: Iterable<number>,
  threads: number,
  bug: Bug | null,
  onOutcome: (outcome: Outcome) => void,
): Promise<void> {
  const left = seeds[Symbol.iterator]()
  await Promise.all(Array.from({ length: threads }, () => runThread(left, bug, onOutcome)))
}

async function runThread(
  left: Iterator<number>,
  bug: Bug | null,
  onOutcome: (outcome: Outcome) => void,
): Promise<void> {
  let worker = startWorker()
  for (let next = left.next(); next.done !== true; next = left.next()) {
    const outcome = await runOne(worker, { seed: next.value, bug })
    onOutcome(outcome)
    if (outcome.digest !== '') continue
    await worker.terminate()
    worker = startWorker()
  }
  await worker.terminate()
}

function startWorker(): Worker {
  return new Worker(new URL('./worker.ts', import.meta.url), { resourceLimits: { maxYoungGenerationSizeMb: 64 } })
}

function runOne(worker: Worker, order: Order): Promise<Outcome> {
  return new Promise((resolve) => {
    const end = (outcome: Outcome): void => {
      clearTimeout(timer)
      worker.off('message', end).off('error', onError)
      resolve(outcome)
    }
    const onError = (error: unknown): void => end(brokenDown(order.seed, `the world broke down: ${error}`))
    const timer = setTimeout(() => end(brokenDown(order.seed, 'the world does not end')), WORLD_TIMEOUT_MS)
    worker.once('message', end).once('error', onError)
    worker.postMessage(order)
  })
}
