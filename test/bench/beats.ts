import { readFileSync } from 'node:fs'
import type { ObservedBeats } from '#fleet/beat.ts'
import { freePort } from '../port.ts'
import { type BenchBridge, sessionsOf, startBridge } from './bridge.ts'
import { interleave, type Round, summarise } from './figures.ts'
import type { BeatsJob } from './load/beats.ts'
import { FIRST } from './load/digits.ts'
import { type Load, openLoad } from './load.ts'
import { hasCommand } from './machine.ts'
import { type Bench, type Row, ratios, type Skipped, type Wish } from './row.ts'
import { type Actor, canPin, openStage, type Stage, until } from './stage.ts'

/** Beats that are acknowledged, each host over a connection of its own with one beat under way, one core for the server. */
export const beats: Bench = async (wish) => {
  const rows: (Row | Skipped)[] = []
  for (const { sockets, reach } of SIZES) {
    const what = `beats over ${sockets.toLocaleString('en-US')} sockets`
    const fits = openFilesMax() > sockets * 1.2
    if (fits) rows.push(...(await compare(what, sockets, reach, wish)))
    else rows.push({ what, skipped: `this shell may open ${openFilesMax()} files (ulimit -n)` })
  }
  return rows
}

const SIZES = [
  { sockets: 1_000, reach: { beatsPerS: 40_000 } },
  { sockets: 5_000, reach: { beatsPerS: 30_000 } },
]

async function compare(what: string, sockets: number, reach: Row['reach'], wish: Wish): Promise<(Row | Skipped)[]> {
  await using stage = await openStage()
  wish.say(`${what}: a bridge and ${sockets / 2} conversations`)
  const bridge = await startBridge(stage, 'server')
  const sessions = sessionsOf(await bridge.openConversations(sockets / 2))
  const contenders = new Map<string, () => Promise<Round>>()
  const add = async (name: string, server: Actor, job: BeatsJob): Promise<void> => {
    wish.say(`${what}: connecting to ${name}`)
    const load = await openLoad(stage, 'beats', job)
    contenders.set(name, () => roundOf(name, load, server, wish))
  }
  await add('ours', bridge.actor, { server: 'bridge', port: bridge.port, sessions })
  const skipped: Skipped[] = []
  for (const [name, { command, start }] of Object.entries(OTHERS)) {
    if (!hasCommand(command)) {
      skipped.push({ what: `${what}: ${name}`, skipped: `${command} is not installed` })
      continue
    }
    const { actor, port } = await start(stage)
    await add(name, actor, { server: command === 'etcd' ? 'etcd' : 'nats', port, sessions })
  }
  for (const warmUp of contenders.values()) await warmUp()
  const results = await interleave(wish.isQuick ? 2 : 5, Object.fromEntries(contenders))
  const figures = Object.fromEntries(
    Object.entries(results).map(([name, rounds]) => [name, summarise('beatsPerS', rounds)]),
  )
  const { ours = {}, ...beside } = figures
  await demandTaken(bridge, sockets)
  return [{ what, reach, ours, beside, ratio: ratios('beatsPerS', ours, beside), note: NOTE }, ...skipped]
}

/** An acknowledgement that nothing stands behind would be quick, too. */
async function demandTaken(bridge: BenchBridge, sockets: number): Promise<void> {
  const { pulses } = (await bridge.ask('pulses', { after: 0 })) as ObservedBeats
  const taken = pulses.filter(({ seq }) => seq > FIRST)
  if (taken.length !== sockets) throw new Error(`beats of ${sockets} sessions were sent, ${taken.length} are there`)
}

/** Of this process, and so of those that it starts: getrlimit(2). */
function openFilesMax(): number {
  const limits = readFileSync('/proc/self/limits', 'latin1')
  return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY)
}

const NOTE = `${
  canPin() ? 'server on one core, load on another' : 'server and load share cores: too few to part them'
}; ours: one WebSocket a host, beats kept in memory and written out in groups; NATS: put of a key of a file-backed bucket, acknowledged by its stream; etcd: keep-alive of a lease over one gRPC stream a connection`

async function roundOf(name: string, load: Load, server: Actor, { isQuick, say }: Wish): Promise<Round> {
  const round = await load.round({ forMs: isQuick ? 1_000 : 3_000 }, server)
  const rate = Math.round((round.latenciesMs.length / round.tookMs) * 1000)
  say(`${name}: ${rate} beats/s, server ${percent(round.cpuPercent)}, load ${percent(round.loadPercent)}`)
  return round
}

function percent(value = Number.NaN): string {
  return `${Math.round(value)} %`
}

interface Started {
  readonly actor: Actor
  readonly port: number
}

const OTHERS: Readonly<Record<string, { command: string; start: (stage: Stage) => Promise<Started> }>> = {
  'NATS JetStream KV': { command: 'nats-server', start: startNats },
  'etcd leases': { command: 'etcd', start: startEtcd },
}

async function startNats(stage: Stage): Promise<Started> {
  const port = await freePort()
  const room = await stage.room('nats')
  const argv = [
    'nats-server',
    '--addr',
    '127.0.0.1',
    '--port',
    String(port),
    '--jetstream',
    '--store_dir',
    room,
  ] as const
  const actor = stage.start('server', [...argv])
  await until('NATS is ready', () => actor.words().includes('Server is ready'), actor)
  return { actor, port }
}

async function startEtcd(stage: Stage): Promise<Started> {
  const port = await freePort()
  const peer = `http://127.0.0.1:${await freePort()}`
  const client = `http://127.0.0.1:${port}`
  const actor = stage.start('server', [
    'etcd',
    ...['--name', 'bench', '--data-dir', await stage.room('etcd'), '--log-level', 'error'],
    ...['--listen-client-urls', client, '--advertise-client-urls', client],
    ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', `bench=${peer}`],
  ])
  await until('etcd is ready', () => isHealthy(`${client}/health`), actor)
  return { actor, port }
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    return (await (await fetch(url)).text()).includes('"true"')
  } catch {
    return false
  }
}
