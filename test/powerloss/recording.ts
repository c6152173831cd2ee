/** Records a scenario: what its program does with its files, in a process of its own. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compileC } from '../compile-c.ts'
import { contentOf, Disk } from './disk.ts'
import { type Journal, journalOf, laidBelow } from './journal.ts'
import { readRecords } from './record.ts'
import type { AnyScenario } from './scenario.ts'

/** Some hundred thousand states: a disk of memory makes them quick. */
export const MEMORY = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

export interface Recording {
  /** The scenario's name, and, where its program was killed first, after which record. */
  readonly name: string
  readonly scenario: string
  readonly journal: Journal
}

export const NO_COMPILER = 'there is no C compiler here, so what programs do with their files cannot be recorded'

/** The library that records; null where it cannot be compiled. */
export function recorder(): string | null {
  return compileC(fileURLToPath(new URL('./record.c', import.meta.url)), { shared: true })
}

/**
 * Records a scenario once, or, where its program is killed first, once for each record after which that can be, `every` so
 * many of them; `atOnce` side by side.
 */
export async function record(
  scenario: AnyScenario,
  library: string,
  { atOnce = 1, every = 1 }: { readonly atOnce?: number; readonly every?: number } = {},
): Promise<Recording[]> {
  const { name } = scenario
  if (scenario.isKilledFirst !== true) return [{ name, scenario: name, journal: await recordOnce(scenario, library) }]
  const recordings: Recording[] = []
  let next = 1
  let isAlive = false
  const recordSome = async (): Promise<void> => {
    while (!isAlive) {
      const dieAt = next
      next += every
      const journal = await recordOnce(scenario, library, dieAt)
      if (journal === null) isAlive = true
      else recordings.push({ name: `${name}/${dieAt}`, scenario: name, journal })
    }
  }
  await Promise.all(Array.from({ length: atOnce }, recordSome))
  return recordings
}

async function recordOnce(scenario: AnyScenario, library: string): Promise<Journal>
async function recordOnce(scenario: AnyScenario, library: string, dieAt: number): Promise<Journal | null>
/** Null where the program was to be killed, and had come to its end before. */
async function recordOnce(scenario: AnyScenario, library: string, dieAt?: number): Promise<Journal | null> {
  const folder = realpathSync(mkdtempSync(join(MEMORY, 's2-powerloss-')))
  const root = join(folder, 'root')
  const log = join(folder, 'log')
  try {
    mkdirSync(root, { mode: 0o700 })
    await scenario.lay?.(root)
    const laid = laidBelow(root)
    const env = { ...process.env, LD_PRELOAD: library, RECORD_LOG: log, RECORD_ROOT: root }
    if (dieAt !== undefined) {
      const end = await play(scenario, { ...env, RECORD_DIE_AT: String(dieAt) })
      if (end === 'done') return null
    }
    await play(scenario, env)
    const journal = journalOf(root, laid, readRecords(readFileSync(log)))
    demandExplained(scenario, root, journal)
    return journal
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const PLAY = fileURLToPath(new URL('./play.ts', import.meta.url))

async function play({ name, module }: AnyScenario, env: NodeJS.ProcessEnv): Promise<'killed' | 'done'> {
  const child = spawn(process.execPath, [PLAY, module, name], { env, stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  if (signal === 'SIGKILL' && env.RECORD_DIE_AT !== undefined) return 'killed'
  if (code !== 0) throw new Error(`the scenario ${name} cannot be played (${signal ?? code}):\n${said}`)
  return 'done'
}

/** A call that went past the record would show here: with all that was recorded, the disk holds what the folder holds. */
function demandExplained({ name }: AnyScenario, root: string, journal: Journal): void {
  const disk = new Disk(journal)
  const NEWEST = 1
  const { entries } = disk.stateOf(disk.cutAt(journal.steps.length), NEWEST, () => 0)
  const recorded = entries.map(({ path, mode, file }) => shown(path, mode, file && contentOf(file, Buffer.alloc(0))))
  const found = laidBelow(root)
    .map(({ path, mode, content }) => shown(path.slice(root.length), mode, content))
    .filter((each) => !/^\/TOLD |-shm /.test(each))
  const differing = [...new Set(found).symmetricDifference(new Set(recorded))]
  if (differing.length === 0) return
  throw new Error(`the record of ${name} does not explain the folder:\n${differing.sort().join('\n').slice(0, 2_000)}`)
}

function shown(path: string, mode: number, content: Buffer | null): string {
  return `${path} ${mode.toString(8)} ${content === null ? 'folder' : content.toString('base64')}`
}
