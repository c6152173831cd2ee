import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FleetProgram } from '../kills/fleet-program.ts'
import type { Dice } from '../simulation/chance.ts'

export interface Ground {
  /** The state folder of the orchestrator. */
  readonly state: string
  /** Programs that may be killed. */
  readonly mortal: readonly FleetProgram[]
  /** Those that are measured, and may only be paused. */
  readonly lasting: readonly FleetProgram[]
  /** State folders of agents whose spools get rubbish. */
  readonly spools: readonly string[]
}

/** Something that befalls a fleet, from its begin to its end; answers what was done, for people. */
type Fault = (ground: Ground, dice: Dice) => Promise<string>

const kill: Fault = async ({ mortal }, dice) => {
  const victim = dice.pick(mortal)
  victim.signal('SIGKILL')
  return `${victim.name} killed`
}

const pause: Fault = async ({ mortal, lasting }, dice) => {
  const victim = dice.pick([...mortal, ...lasting])
  const ms = dice.between(3_000, 20_000)
  victim.signal('SIGSTOP')
  await sleep(ms)
  victim.signal('SIGCONT')
  return `${victim.name} stood still for ${Math.round(ms / 1_000)} s`
}

const LOCKER = `
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
db.execute("BEGIN IMMEDIATE")
time.sleep(float(sys.argv[2]))
`

const lock: Fault = async ({ state }, dice) => {
  const seconds = dice.between(1, 4).toFixed(1)
  const locker = spawn('python3', ['-c', LOCKER, join(state, 'bridge.db'), seconds], { stdio: 'ignore' })
  await once(locker, 'exit')
  return `the database was locked for ${seconds} s`
}

const AWAY_MS = 20_000

const remoteAway: Fault = async ({ state }) => {
  const [remote, away] = [join(state, 'remote.git'), join(state, 'remote.away')]
  renameSync(remote, away)
  await sleep(AWAY_MS)
  renameSync(away, remote)
  return 'the git remote was away for 20 s'
}

const RUBBISH = ['', '{', 'null', '{"kind":"send"}', '\u0000\u0001', `"${'x'.repeat(100_000)}"`] as const

const rubbish: Fault = async ({ spools }, dice) => {
  const place = dice.pick(['inbox/new', 'outbox/new'] as const)
  const folder = join(dice.pick(spools), place)
  if (!existsSync(folder)) return `there is no ${place} yet`
  const name = dice.pick([`${dice.whole(1, 1e9)}.json`, `rubbish-${dice.whole(1, 1e9)}`, '..json'] as const)
  writeFileSync(join(folder, name), dice.pick(RUBBISH))
  return `rubbish was put into ${place}`
}

const FAULTS: readonly Fault[] = [kill, kill, pause, pause, lock, remoteAway, rubbish]

/** Has faults befall a fleet, one after the other, until the signal aborts. Answers how many. */
export async function befall(
  ground: Ground,
  { everyMs, dice, tell }: { readonly everyMs: number; readonly dice: Dice; readonly tell: (what: string) => void },
  signal: AbortSignal,
): Promise<number> {
  for (let count = 0; ; count += 1) {
    await sleep(dice.between(everyMs / 2, everyMs * 1.5), undefined, { signal }).catch(() => undefined)
    if (signal.aborted) return count
    tell(await dice.pick(FAULTS)(ground, dice))
  }
}
