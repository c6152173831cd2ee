import { join } from 'node:path'
import type { Round } from './figures.ts'
import type { LoadRound, Reply, Word } from './load/serve.ts'
import { type Actor, ask, type Stage } from './stage.ts'

/** A process on a core of its own that loads a server over connections it keeps, round by round. */
export interface Load {
  /** Gets all ready, then measures; the server's share of its core is taken from the same time. */
  round(order: unknown, server: Actor): Promise<Round>
}

export async function openLoad(stage: Stage, file: 'sends' | 'beats', job: unknown): Promise<Load> {
  const actor = stage.start('load', [process.execPath, join(import.meta.dirname, 'load', `${file}.ts`)])
  const tell = (word: Word): Promise<Reply> => ask(actor, word)
  await tell({ t: 'job', job })
  return {
    async round(order, server) {
      await tell({ t: 'ready', order })
      const cpuBefore = server.cpuMs()
      const { latenciesMs, tookMs, cpuMs }: LoadRound = (await tell({ t: 'go' })).round ?? NO_ROUND
      return {
        latenciesMs,
        tookMs,
        cpuPercent: ((server.cpuMs() - cpuBefore) / tookMs) * 100,
        loadPercent: (cpuMs / tookMs) * 100,
      }
    },
  }
}

const NO_ROUND: LoadRound = { latenciesMs: new Float64Array(0), tookMs: Number.NaN, cpuMs: Number.NaN }
