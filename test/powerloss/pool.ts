import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { RecordingOrder, RunOrder } from './campaign.ts'
import { MEMORY, type Recording } from './recording.ts'
import type { Replayed } from './replay.ts'
import type { WorkerData } from './worker.ts'

/** Threads that replay recordings; each takes one order after the other. */
export class Pool implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(MEMORY, 's2-powerloss-'))
  readonly #workers: readonly Worker[]
  readonly #idle: Worker[]
  readonly #waiting: ((worker: Worker) => void)[] = []

  constructor(
    recordings: readonly Recording[],
    { threads, seed }: { readonly threads: number; readonly seed: number },
  ) {
    const workerData: WorkerData = { recordings, seed, folder: this.#folder }
    const start = (): Worker => new Worker(new URL('./worker.ts', import.meta.url), { workerData })
    this.#workers = Array.from({ length: threads }, start)
    this.#idle = [...this.#workers]
  }

  readonly run: RunOrder = async (order: RecordingOrder) => {
    const worker = this.#idle.pop() ?? (await this.#nextIdle())
    worker.postMessage(order)
    const [replayed] = (await once(worker, 'message')) as [Replayed]
    const next = this.#waiting.shift()
    if (next === undefined) this.#idle.push(worker)
    else next(worker)
    return replayed
  }

  #nextIdle(): Promise<Worker> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((each) => each.terminate()))
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
