/** A worker in a process of its own, whose store is in the process that started it: it may be killed, or be kept busy. */
import { type Code, S2Error } from '#fleet/errors.ts'
import { systemClock } from '#runtime/clock.ts'
import type { WorkEvent } from '../../services/worker/work-event.ts'
import { type WorkerConfig, type WorkerStore, work } from './command-worker.ts'

/** A verb of the store that is asked for. */
export interface Question {
  readonly id: number
  readonly verb: keyof WorkerStore
  readonly args: readonly unknown[]
}

/** What it tells by itself: that it begins to work, and what happens then. */
export interface News {
  readonly say: WorkEvent | 'begins'
}

export interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly error?: { readonly code: Code; readonly message: string }
}

const waiting = new Map<number, PromiseWithResolvers<unknown>>()
let asked = 0

process.on('message', ({ id, value, error }: Answer) => {
  const answer = waiting.get(id)
  waiting.delete(id)
  if (error === undefined) answer?.resolve(value)
  else answer?.reject(new S2Error(error.code, error.message))
})
process.on('disconnect', () => process.exit(1))

function ask(verb: keyof WorkerStore, args: readonly unknown[]): Promise<unknown> {
  asked += 1
  const answer = Promise.withResolvers<unknown>()
  waiting.set(asked, answer)
  process.send?.({ id: asked, verb, args } satisfies Question)
  return answer.promise
}

function tell(say: News['say']): void {
  process.send?.({ say } satisfies News)
}

const ended = new AbortController()
process.on('SIGTERM', () => ended.abort())
const store = new Proxy({} as WorkerStore, {
  get:
    (_, verb) =>
    (...args: unknown[]) =>
      ask(verb as keyof WorkerStore, args),
})
tell('begins')
await work(JSON.parse(process.argv[2] ?? '') as WorkerConfig, {
  store,
  clock: systemClock,
  signal: ended.signal,
  say: (event) => {
    if (event.event !== 'output') tell(event)
  },
})
process.disconnect()
