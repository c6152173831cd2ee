import { dirname, resolve } from 'node:path'
import { type AgentOptions, agentOptions } from '#agents/agent-options.ts'
import { type Budget, type Budgets, parseBudget } from '#agents/budget.ts'
import { workerName } from '#fleet/credential.ts'
import { ORCHESTRATOR } from '#fleet/session-id.ts'
import { ConfigError, closest } from '#runtime/read-settings.ts'
import { commandLine } from '#runtime/run-command.ts'
import { type Address, parseAddress } from '#runtime/setting-parsers.ts'
import { SETTINGS, type Setting, type SettingName } from '#runtime/settings.ts'
import { readJson } from './read-json.ts'

/** The checked content of a fleet file. */
export interface Fleet {
  /** Where the bridge listens, on this machine. */
  readonly listen: Address & { readonly host: string; readonly port: number }
  /** Git remote of the credentials; null means a bare repository in the state folder. */
  readonly remote: string | null
  readonly branch: string
  readonly settings: FleetSettings
  readonly orchestrator: AgentSpec
  readonly workers: readonly WorkerSpec[]
  /** The file with the tasks of `--demo`, or null. */
  readonly demo: string | null
}

export type FleetSettings = Readonly<Partial<Record<SettingName, string>>>

export interface AgentSpec {
  readonly agent: string
  readonly role: string
  /** Command that wakes it; null runs no watcher. */
  readonly wake: string | null
  readonly settings: FleetSettings
}

export interface WorkerSpec extends AgentSpec {
  readonly number: number
  /** Command that does its tasks; null runs no `s2 work`: another program works there. */
  readonly exec: string | null
  /** The client that does its tasks in place of a command; null: none does. */
  readonly client: AgentOptions | null
  /** How the command finds the task on its standard input. */
  readonly stdin: 'json' | 'text'
  /** Where that command runs, relative to the fleet file; null means the folder where `s2 up` was called. */
  readonly folder: string | null
}

/** Settings that `s2 up` decides itself for each program. */
const DECIDED: readonly SettingName[] = [
  'S2_STATE',
  'S2_STORE',
  'S2_LISTEN',
  'S2_HEALTH',
  'S2_WORKER',
  'S2_HOST',
  'S2_SOURCE',
  'S2_WAKE',
  'S2_GIT_REMOTE',
  'S2_GIT_BRANCH',
  'S2_BRIDGE_URL',
]

/** Reads a fleet file. Throws ConfigError with all its faults. */
export function readFleet(path: string): Fleet {
  return parseFleet(readJson(path, 'the fleet file'), path)
}

export function parseFleet(value: unknown, path: string): Fleet {
  const faults: string[] = []
  const root = new Fields(value, 'the fleet', faults)
  const bridge = root.fields('bridge')
  const credentials = root.fields('credentials')
  const listen = bridge.text('listen') ?? SETTINGS.S2_LISTEN.fallback
  const fleet: Fleet = {
    listen: readListen(listen, faults),
    remote: readRemote(credentials, dirname(path)),
    branch: checked(credentials, 'branch', SETTINGS.S2_GIT_BRANCH.parse) ?? SETTINGS.S2_GIT_BRANCH.fallback,
    settings: { ...readFallback(root), ...readSettingsOf(root) },
    orchestrator: readOrchestrator(root.fields('orchestrator')),
    workers: root
      .list('workers')
      .map((each, index) => readWorker(new Fields(each, `worker ${index + 1}`, faults), dirname(path))),
    demo: relativeTo(dirname(path), root.text('demo')),
  }
  for (const fields of [root, bridge, credentials]) fields.refuseOthers()
  checkNumbers(fleet.workers, faults)
  if (fleet.workers.length === 0) faults.push('the fleet has no workers: list at least one, with number and role')
  if (faults.length > 0) throw new ConfigError(faults.map((fault) => `${path}: ${fault}`))
  return fleet
}

/** `"fallback": {"tests": ["review"], "docs": "any"}`: the roles that stand in for one of which no agent can work. */
function readFallback(root: Fields): FleetSettings {
  const fields = root.fields('fallback')
  const pairs = fields.names().map((role) => `${role}=${fields.texts(role).join('+')}`)
  if (pairs.length === 0) return {}
  const S2_FALLBACK = pairs.join(',')
  try {
    SETTINGS.S2_FALLBACK.parse(S2_FALLBACK)
  } catch (error) {
    fields.fault((error as Error).message)
  }
  return { S2_FALLBACK }
}

function readOrchestrator(fields: Fields): AgentSpec {
  const agent = { ...readAgent(fields), agent: ORCHESTRATOR, role: fields.text('role') ?? ORCHESTRATOR }
  fields.refuseOthers()
  return agent
}

function readWorker(fields: Fields, base: string): WorkerSpec {
  const number = fields.number('number')
  const role = fields.text('role')
  if (role === null) fields.fault('role is missing: say what kind of work it does, for example "backend"')
  else if (!/^[\w .:-]{1,100}$/.test(role)) fields.fault('role must be up to 100 letters, digits, spaces, dots, dashes')
  const worker = {
    ...readAgent(fields),
    number,
    agent: workerName(number),
    role: role ?? '',
    exec: readExec(fields),
    client: readClient(fields),
    stdin: readStdin(fields),
    folder: relativeTo(base, fields.text('folder')),
  }
  if (worker.exec !== null && worker.client !== null)
    fields.fault('exec and agent exclude each other: say "agent" for Claude Code and Codex, "exec" for any command')
  fields.refuseOthers()
  return worker
}

/** `"agent": "claude"`, with its model, permissionMode, allowedTools and budget. */
function readClient(fields: Fields): AgentOptions | null {
  const [client, model, permissionMode] = ['agent', 'model', 'permissionMode'].map((name) => fields.text(name))
  const allowedTools = fields.optionalTexts('allowedTools')
  const budgets = readBudgets(fields.fields('budget'))
  if (client === null || client === undefined) {
    if ([model, permissionMode, allowedTools[0] ?? null, budgets.task, budgets.day].some((each) => each !== null))
      fields.fault('model, permissionMode, allowedTools and budget are for an agent: add "agent": "claude"')
    return null
  }
  try {
    return agentOptions({ client, model: model ?? null, permissionMode: permissionMode ?? null, allowedTools, budgets })
  } catch (error) {
    fields.fault((error as Error).message)
    return null
  }
}

/** `"budget": {"task": "2 USD", "day": "20 USD"}`. */
function readBudgets(fields: Fields): Budgets {
  const budget = (name: string): Budget | null => {
    const text = fields.text(name)
    try {
      return text === null ? null : parseBudget(text)
    } catch (error) {
      fields.fault(`${name}: ${(error as Error).message}`)
      return null
    }
  }
  const budgets = { task: budget('task'), day: budget('day') }
  fields.refuseOthers()
  return budgets
}

function readExec(fields: Fields): string | null {
  const exec = fields.text('exec')
  try {
    if (exec !== null) commandLine(exec)
  } catch (error) {
    fields.fault(`exec ${JSON.stringify(exec)} ${(error as Error).message}; for example ["claude","-p"]`)
  }
  return exec
}

function readStdin(fields: Fields): WorkerSpec['stdin'] {
  const form = fields.text('stdin') ?? 'json'
  if (form === 'json' || form === 'text') return form
  fields.fault('stdin must be "json" (the whole task) or "text" (its text alone)')
  return 'json'
}

function readAgent(fields: Fields): Pick<AgentSpec, 'wake' | 'settings'> {
  return { wake: fields.text('wake'), settings: readSettingsOf(fields) }
}

function readSettingsOf(fields: Fields): FleetSettings {
  const settings = fields.fields('settings')
  const read: Partial<Record<SettingName, string>> = {}
  for (const name of settings.names()) {
    const text = settings.text(name)
    if (text === null) continue
    const setting = (SETTINGS as Readonly<Record<string, Setting>>)[name]
    if (setting === undefined) {
      const near = closest(name, Object.keys(SETTINGS))
      settings.fault(`${name} is not a setting${near === undefined ? '' : `; did you mean ${near}?`}`)
    } else if (DECIDED.includes(name as SettingName)) {
      settings.fault(
        `${name} cannot be set here: ${name === 'S2_STORE' ? 'the environment of s2 up names it' : 's2 up decides it for each program'}`,
      )
    } else {
      checked(settings, name, setting.parse, setting.example)
      read[name as SettingName] = text
    }
  }
  return read
}

function checked(fields: Fields, name: string, parse: (text: string) => unknown, example?: string): string | null {
  const text = fields.text(name)
  if (text === null) return null
  try {
    parse(text)
  } catch (error) {
    const hint = example === undefined ? '' : `; for example ${example}`
    fields.fault(`${name}=${JSON.stringify(text)} ${(error as Error).message}${hint}`)
  }
  return text
}

function readListen(text: string, faults: string[]): Fleet['listen'] {
  try {
    const address = parseAddress(text)
    if ('host' in address && address.port > 0) return address
  } catch {
    // reported below
  }
  faults.push(
    `bridge.listen=${JSON.stringify(text)} must be host:port with a port of its own, for example 127.0.0.1:7433`,
  )
  return { host: '127.0.0.1', port: 0 }
}

/** Null for `local` or none: a bare repository in the state folder. Paths are relative to the fleet file. */
function readRemote(fields: Fields, folder: string): string | null {
  const remote = checked(fields, 'remote', SETTINGS.S2_GIT_REMOTE.parse)
  if (remote === null || remote === 'local') return null
  return remote.startsWith('.') ? resolve(folder, remote) : remote
}

function relativeTo(folder: string, path: string | null): string | null {
  return path === null ? null : resolve(folder, path)
}

function checkNumbers(workers: readonly WorkerSpec[], faults: string[]): void {
  const seen = new Set<number>()
  for (const { number } of workers) {
    if (seen.has(number)) faults.push(`two workers have the number ${number}: each needs one of its own`)
    seen.add(number)
  }
}

/** The fields of one object in the file. It remembers those that were read, so that a misspelt one is reported. */
class Fields {
  readonly #value: Readonly<Record<string, unknown>>
  readonly #where: string
  readonly #faults: string[]
  readonly #asked = new Set<string>()

  constructor(value: unknown, where: string, faults: string[]) {
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    this.#value = isObject ? (value as Record<string, unknown>) : {}
    this.#where = where
    this.#faults = faults
    if (!isObject) this.fault('must be an object')
  }

  fault(what: string): void {
    this.#faults.push(`${this.#where}: ${what}`)
  }

  names(): string[] {
    return Object.keys(this.#value)
  }

  text(name: string): string | null {
    const value = this.#take(name)
    if (value === undefined) return null
    if (typeof value === 'string' && value.trim() !== '') return value
    this.fault(`${name} must be a text that is not empty`)
    return null
  }

  /** One text, or a list of them. */
  texts(name: string): string[] {
    const value = this.#take(name)
    const list: readonly unknown[] = Array.isArray(value) ? value : [value]
    if (list.length > 0 && list.every((each) => typeof each === 'string' && each.trim() !== '')) return list as string[]
    this.fault(`${name} must be a text, or a list of texts`)
    return []
  }

  /** The same, or none. */
  optionalTexts(name: string): string[] {
    return Object.hasOwn(this.#value, name) ? this.texts(name) : this.#none(name)
  }

  #none(name: string): string[] {
    this.#asked.add(name)
    return []
  }

  number(name: string): number {
    const value = this.#take(name)
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 1_000_000) return value
    this.fault(`${name} must be a whole number from 0 to 1000000, for example 3`)
    return Number.NaN
  }

  list(name: string): readonly unknown[] {
    const value = this.#take(name)
    if (Array.isArray(value)) return value
    if (value !== undefined) this.fault(`${name} must be a list`)
    return []
  }

  fields(name: string): Fields {
    return new Fields(
      this.#take(name) ?? {},
      `${this.#where === 'the fleet' ? '' : `${this.#where}, `}${name}`,
      this.#faults,
    )
  }

  /** Reports the fields that were not read. Call it when all known ones have been read. */
  refuseOthers(): void {
    for (const name of this.names()) {
      if (this.#asked.has(name)) continue
      const near = closest(name, [...this.#asked])
      const hint = near === undefined ? `known are ${[...this.#asked].join(', ')}` : `did you mean ${near}?`
      this.fault(`there is no field ${JSON.stringify(name)}; ${hint}`)
    }
  }

  #take(name: string): unknown {
    this.#asked.add(name)
    return Object.hasOwn(this.#value, name) ? this.#value[name] : undefined
  }
}
