/** Records a scenario: what its program does with its files, in a process of its own. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compileC } from '../compile-c.ts'
import { type Journal, journalOf, laidBelow } from './journal.ts'
import { readRecords } from './record.ts'
import type { AnyScenario } from './scenario.ts'

/** Some hundred thousand states: a disk of memory makes them quick. */
export const MEMORY = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
/** A folder without its like in the names of files that lie deeper. */
const PREFIX = 's2-powerloss-'

export interface Recording {
  /** The scenario's name, and, where its program was killed first, after which record. */
  readonly name: string
  readonly scenario: string
  readonly journal: Journal
}

export const NO_COMPILER = 'no C compiler is here, so calls into the file system cannot be recorded'

/** The library that records; null where it cannot be compiled. */
export function recorder(): string | null {
  return compileC(fileURLToPath(new URL('./record.c', import.meta.url)), { shared: true })
}

/** Records a scenario once, or, where its program is killed first, once for each record after which that can be. */
export async function* record(scenario: AnyScenario, library: string): AsyncGenerator<Recording> {
  if (scenario.isKilledFirst !== true) {
    const { journal } = await recordOnce(scenario, library, null)
    yield { name: scenario.name, scenario: scenario.name, journal }
    return
  }
  for (let dieAt = 1; ; dieAt += 1) {
    const { journal, isKilled } = await recordOnce(scenario, library, dieAt)
    if (!isKilled) return
    yield { name: `${scenario.name}/${dieAt}`, scenario: scenario.name, journal }
  }
}

async function recordOnce(scenario: AnyScenario, library: string, dieAt: number | null) {
  const folder = realpathSync(mkdtempSync(join(MEMORY, PREFIX)))
  const root = join(folder, 'root')
  const log = join(folder, 'log')
  try {
    mkdirSync(root, { mode: 0o700 })
    await scenario.lay?.(root)
    const laid = laidBelow(root)
    const env = { ...process.env, LD_PRELOAD: library, RECORD_LOG: log, RECORD_ROOT: root }
    const isKilled = dieAt !== null && play(scenario, { ...env, RECORD_DIE_AT: String(dieAt) }) === 'killed'
    if (dieAt === null || isKilled) play(scenario, env)
    return { journal: journalOf(root, laid, readRecords(readFileSync(log))), isKilled }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const PLAY = fileURLToPath(new URL('./play.ts', import.meta.url))

function play({ name }: AnyScenario, env: NodeJS.ProcessEnv): 'killed' | 'done' {
  const { status, signal, stderr } = spawnSync(process.execPath, [PLAY, name], { env, encoding: 'utf8' })
  if (signal === 'SIGKILL' && env.RECORD_DIE_AT !== undefined) return 'killed'
  if (status !== 0) throw new Error(`the scenario ${name} cannot be played (${signal ?? status}):\n${stderr}`)
  return 'done'
}
