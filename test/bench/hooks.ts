import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { publishHookDoor } from '#agents/hook-door.ts'
import { freePort } from '../port.ts'
import { startBridge } from './bridge.ts'
import { quantile } from './figures.ts'
import { type Bench, type Row, ratios, type Wish } from './row.ts'
import { openStage, programArgv, type Stage, until } from './stage.ts'
import { startWorkerHost } from './worker.ts'

/** What a client waits for at each of its events. */
export const hooks: Bench = async (wish) => {
  await using stage = await openStage()
  return [await hookCommand(stage, wish), await hookOverHttp(stage, wish)]
}

const STOP = JSON.stringify({
  session_id: '0a1b2c3d-0000-4000-8000-000000000000',
  transcript_path: '/tmp/none.jsonl',
  cwd: '/tmp',
  hook_event_name: 'Stop',
  permission_mode: 'default',
  stop_hook_active: false,
  last_assistant_message: 'done',
  background_tasks: [],
  session_crons: [],
})

/** From the start of the process to its end, on a host where nothing else runs. */
async function hookCommand(stage: Stage, { isQuick, say }: Wish): Promise<Row> {
  say('s2 hook Stop and node -e 0 in turn, and no keepalive')
  const env = { PATH: process.env.PATH, S2_STATE: await stage.room('hook') }
  const times = { ours: [] as number[], bare: [] as number[] }
  for (let round = -1; round < (isQuick ? 10 : 100); round += 1) {
    const ours = await runMs(programArgv(process.execPath, 's2', 'hook', 'Stop', '--agent', 'claude'), env, STOP)
    const bare = await runMs([process.execPath, '-e', '0'], env, '')
    if (round < 0) continue // the first fills the caches of the disk
    times.ours.push(ours)
    times.bare.push(bare)
  }
  const ours = percentiles(times.ours)
  const beside = { 'node -e 0': percentiles(times.bare) }
  const reach = { p50Ms: 60, p99Ms: 100 }
  return { what: 's2 hook Stop, as a command', reach, ours, beside, ratio: ratios('p50Ms', ours, beside) }
}

async function hookOverHttp(stage: Stage, { isQuick, say }: Wish): Promise<Row> {
  say('the same over http, answered by keepalive')
  const bridge = await startBridge(stage, 'other')
  const [conversation] = await bridge.openConversations(1)
  if (conversation === undefined) throw new Error('no conversation')
  const { state, keepalive } = await startWorkerHost(stage, bridge, conversation)
  const door = { port: await freePort(), secret: '0123456789abcdef'.repeat(4) }
  await publishHookDoor(state, door)
  const headers = { authorization: `Bearer ${door.secret}` }
  await until('keepalive answers hooks', async () => await answers(door.port, headers).catch(() => false), keepalive)
  const bare = await startEcho(stage)
  const times = { ours: [] as number[], bare: [] as number[] }
  for (let round = -20; round < (isQuick ? 50 : 1_000); round += 1) {
    const ours = await timed(() => answers(door.port, headers))
    const theirs = await timed(() => answers(bare, headers))
    if (round < 0) continue // the first open the connections
    times.ours.push(ours)
    times.bare.push(theirs)
  }
  const ours = percentiles(times.ours)
  const beside = { 'node http echo': percentiles(times.bare) }
  const reach = { p50Ms: 5, p99Ms: 20 }
  return { what: 'a Stop hook over http', reach, ours, beside, ratio: ratios('p50Ms', ours, beside) }
}

/** The least that answers a request with what it was sent. */
const ECHO = `require('node:http').createServer((asked, answer) => {
  const chunks = []
  asked.on('data', (chunk) => chunks.push(chunk)).on('end', () => answer.end(Buffer.concat(chunks)))
}).listen(0, '127.0.0.1', function () { console.log(this.address().port) })`

/** Answers its port. */
async function startEcho(stage: Stage): Promise<number> {
  const { child } = stage.start('other', [stage.node, '-e', ECHO])
  const [port] = (await once(child.stdout as Readable, 'data')) as [Buffer]
  return Number(String(port))
}

/** Whether a hook that is sent there is answered. */
async function answers(port: number, headers: Record<string, string>): Promise<boolean> {
  const json = { ...headers, 'content-type': 'application/json' }
  const response = await fetch(`http://127.0.0.1:${port}/hook/claude`, { method: 'POST', headers: json, body: STOP })
  await response.arrayBuffer()
  return response.ok
}

async function timed(ask: () => Promise<boolean>): Promise<number> {
  const began = performance.now()
  if (!(await ask())) throw new Error('a hook was not answered')
  return performance.now() - began
}

function percentiles(times: readonly number[]): { readonly p50Ms: number; readonly p99Ms: number } {
  return { p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) }
}

async function runMs([file, ...args]: [string, ...string[]], env: NodeJS.ProcessEnv, input: string): Promise<number> {
  const began = performance.now()
  const child = spawn(file, args, { env, stdio: ['pipe', 'ignore', 'ignore'] })
  child.stdin.on('error', () => undefined).end(input)
  await once(child, 'close')
  return performance.now() - began
}
