import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type BenchBridge, sessionsOf, startBridge } from './bridge.ts'
import { interleave, type Round, summarise } from './figures.ts'
import type { SendsJob } from './load/sends.ts'
import { openLoad } from './load.ts'
import { hasCommand } from './machine.ts'
import { type Bench, type Row, ratios, type Wish } from './row.ts'
import { canPin, openStage, type Stage, until } from './stage.ts'

/** Sends that are on the disk when they are answered, one core for the bridge, beside the Python bridge's way of sending. */
export const sends: Bench = async (wish) => {
  await using stage = await openStage()
  const rounds = wish.isQuick ? 2 : 5
  const bridge = await startBridge(stage, 'server')
  const sessions = sessionsOf(await bridge.openConversations(CLIENTS / 2))
  wish.say(`${CLIENTS} connections to the bridge, and Python beside it`)
  const load = await openLoad(stage, 'sends', { port: bridge.port, sessions, textLength: TEXT } satisfies SendsJob)
  const python = hasCommand('python3') ? await startPython(stage) : null
  const ours = async (): Promise<Round> => {
    const round = await load.round({ count: wish.isQuick ? 8_000 : 25_000 }, bridge.actor)
    return told(wish, 'ours', round)
  }
  const theirs = python === null ? {} : { [PYTHON]: async () => told(wish, PYTHON, await python.round(wish.isQuick)) }
  const warmUp = await ours()
  const results: Record<string, Round[]> = await interleave<string>(rounds, { ours, ...theirs })
  const { ours: measured = [], ...others } = results
  const sent = [warmUp, ...measured].reduce((sum, { latenciesMs }) => sum + latenciesMs.length, 0)
  await bridge.actor.end()
  const figures = { ...summarise('sendsPerS', measured), ...(await missing(bridge, sent)) }
  const beside = Object.fromEntries(Object.entries(others).map(([name, each]) => [name, summarise('sendsPerS', each)]))
  return [
    {
      what: `durable sends, ${CLIENTS} connections`,
      reach: { sendsPerS: 8_000, p99Ms: 25, missing: 0 },
      ours: figures,
      beside,
      ratio: ratios('sendsPerS', figures, beside),
      note: NOTE,
    } satisfies Row,
  ]
}

const CLIENTS = 64
/** Characters of a message. */
const TEXT = 200
const PYTHON = 'the Python way'

const NOTE = `${
  canPin() ? 'server on one core, load on another' : 'server and load share cores: too few to part them'
}; ours: signed, audited, synchronous FULL, over HTTP/1.1 kept alive; the Python way: called in its own process without network, signature and redaction, three connections and two commits (FULL) a send, a reader connected; missing: acknowledged sends that the database does not hold afterwards, read by Python's sqlite3`

function told({ say }: Wish, name: string, round: Round): Round {
  const rate = Math.round((round.latenciesMs.length / round.tookMs) * 1000)
  const load = round.loadPercent === undefined ? '' : `, load ${Math.round(round.loadPercent)} %`
  say(`${name}: ${rate} sends/s, server ${Math.round(round.cpuPercent ?? Number.NaN)} %${load}`)
  return round
}

/** Acknowledged means kept: both the message and its audit entry. */
async function missing({ database }: BenchBridge, sent: number): Promise<Record<string, number>> {
  if (!hasCommand('python3')) return {}
  const [messages = 0, audited = 0] = ['messages', "s2_audit WHERE action = 'send'"].map((of) => {
    const code = `import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM ${of}").fetchone()[0])`
    return Number(execFileSync('python3', ['-c', code, database], { encoding: 'utf8' }))
  })
  return { missing: Math.abs(sent - messages) + Math.abs(sent - audited) }
}

async function startPython(stage: Stage): Promise<{ round(isQuick: boolean): Promise<Round> }> {
  const program = fileURLToPath(new URL('./python-sends.py', import.meta.url))
  const database = join(await stage.room('python'), 'bridge.db')
  const actor = stage.start('server', ['python3', program, database, String(TEXT)])
  await until('Python is ready', () => actor.words().includes('ready'), actor)
  const { stdin, stdout } = actor.child
  if (stdin === null || stdout === null) throw new Error('Python has no pipes')
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  return {
    async round(isQuick) {
      const before = actor.cpuMs()
      stdin.write(`${isQuick ? 1_000 : 3_000}\n`)
      const [tookMs, latencies] = JSON.parse((await lines.next()).value ?? '[0, []]') as [number, number[]]
      return {
        latenciesMs: Float64Array.from(latencies),
        tookMs,
        cpuPercent: ((actor.cpuMs() - before) / tookMs) * 100,
      }
    },
  }
}
