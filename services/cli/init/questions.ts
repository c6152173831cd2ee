import { lookup } from 'node:dns/promises'
import { UsageError } from '#console/failure.ts'
import { redact } from '#fleet/redact.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import { SETTINGS, type SettingName } from '#runtime/settings.ts'
import { type BridgeAddress, bridgeSettings, ownAddresses, ownNames, parseBridge } from './bridge-address.ts'
import { type ChosenCertificate, chooseCertificate } from './choose-certificate.ts'
import type { Check, Dialogue } from './dialogue.ts'
import { checkCredential } from './find-published-credential.ts'
import { ensureGitAccess } from './git-access.ts'
import type { ThisHost } from './host-roles.ts'
import type { QuestionContext } from './question-context.ts'
import type { SettingValues } from './settings-draft.ts'
import type { Todo } from './todo.ts'
import type { Remote } from './try-remote.ts'

/** The settings that follow from the answers. */
export interface Answers {
  /** The settings of all services of this host. */
  readonly common: SettingValues
  /** The settings of the watcher that wakes the agent. */
  readonly watcher: SettingValues
  readonly todos: readonly Todo[]
  /** Whether this host's worker was found in the remote. */
  readonly hasCredential: boolean
}

/** Asks for all that is neither given nor set, and tests each answer while the person can still correct it. */
export async function askQuestions(talk: QuestionContext): Promise<Answers> {
  const { host } = talk
  const todos: Todo[] = []
  const bridge = host.orchestrator === null ? {} : await askBridge(talk, todos)
  const { address, isIn } = await askRemote(talk, todos)
  const S2_WORKER = host.worker === null ? undefined : await askNumber(talk)
  const isAlone = host.role === 'worker' && isIn
  const hasCredential = isAlone && (await lookForCredential(talk, address, Number(S2_WORKER), todos))
  const S2_WAKE = await askWake(talk)
  return {
    common: { ...bridge, ...withoutEmpty({ S2_GIT_REMOTE: address, S2_WORKER }) },
    watcher: withoutEmpty({ S2_WAKE }),
    todos,
    hasCredential,
  }
}

/** The values without those that are empty or undefined. */
export function withoutEmpty(values: Partial<Record<SettingName, string | undefined>>): SettingValues {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined && value !== ''),
  ) as SettingValues
}

/** Asks where workers reach the bridge and how they recognise it. Settings that were written by hand stay. */
async function askBridge(talk: QuestionContext, todos: Todo[]): Promise<SettingValues> {
  const { dialogue, host } = talk
  if (dialogue.canAsk && mustAsk(talk, 'S2_BRIDGE_URL', talk.given.bridgeUrl))
    dialogue.say(`This machine is ${ownNames().join(', ')}.`)
  const said = await answerFor(
    talk,
    'S2_BRIDGE_URL',
    talk.given.bridgeUrl,
    'At which name or address do workers reach the bridge, with :port if not 7433? Empty: only this machine. ',
    null,
  )
  if (said === '') return {}
  const address = parseBridge(said)
  if (dialogue.canAsk) await warnOfForeignName(address, dialogue)
  const certificate =
    address.isLocal || !address.url.startsWith('https:') ? NO_CERTIFICATE : await chooseCertificate(talk, address)
  todos.push(...certificate.todos)
  const derived = { ...bridgeSettings(address, certificate.trust), ...certificate.settings }
  const isKept = (name: string): boolean =>
    talk.given.force !== true && name !== 'S2_BRIDGE_URL' && host.set[name] !== undefined
  return Object.fromEntries(Object.entries(derived).filter(([name]) => !isKept(name))) as SettingValues
}

const NO_CERTIFICATE: ChosenCertificate = { trust: null, settings: {}, todos: [] }

/** Warns of a name that does not orchestrator to this machine, before workers fail to find it. */
async function warnOfForeignName({ host }: BridgeAddress, dialogue: Dialogue): Promise<void> {
  const found = await lookup(host, { all: true }).catch(() => null)
  dialogue.throwIfInterrupted()
  if (found === null) {
    dialogue.say(`${host} does not resolve here: it must for the workers, by DNS or in their /etc/hosts`)
    return
  }
  const addresses = found.map(({ address }) => address)
  const own = ownAddresses()
  if (!addresses.some((each) => own.includes(each) || each.startsWith('127.') || each === '::1'))
    dialogue.say(`${host} is ${addresses.join(', ')}, which is not this machine: that address has to forward to it`)
}

/** Asks for the remote that credentials go through, and gets access to it or says what is left to do for that. */
async function askRemote(talk: QuestionContext, todos: Todo[]): Promise<{ address: string; isIn: boolean }> {
  const { dialogue, host, context, onMade, given } = talk
  const isDemanded = host.worker !== null
  let address = await answerFor(
    talk,
    'S2_GIT_REMOTE',
    given.remote,
    `Which git remote do credentials go through?${isDemanded ? '' : ' Empty: none.'} `,
    isDemanded ? 'a worker needs one' : null,
  )
  if (address === '') return { address, isIn: false }
  let isIn = true
  for (const remote of remotesOf(host, address)) {
    const access = await ensureGitAccess(
      { ...remote, address },
      {
        context,
        dialogue,
        accepted: given.acceptHostKey,
        onMade,
        retryCommand: `${host.command} init`,
      },
    )
    if (access.todo !== null) {
      isIn = false
      todos.push(access.todo)
    }
    address = access.address
  }
  return { address, isIn }
}

/** The remote as the orchestrator and the worker of this host use it. */
function remotesOf({ orchestrator, worker, set, services }: ThisHost, address: string): Remote[] {
  const branch = set.S2_GIT_BRANCH ?? SETTINGS.S2_GIT_BRANCH.fallback
  const common = { address, branch, settings: set }
  return [
    ...(orchestrator === null ? [] : [{ ...common, user: orchestrator, right: 'push' as const, isSandboxed: false }]),
    ...(worker === null
      ? []
      : [{ ...common, user: worker, right: 'read' as const, isSandboxed: services.isOfMachine }]),
  ]
}

async function lookForCredential(
  { context, dialogue, host }: QuestionContext,
  address: string,
  number: number,
  todos: Todo[],
): Promise<boolean> {
  const remote = remotesOf(host, address).find(({ right }) => right === 'read')
  return remote !== undefined && (await checkCredential(context, dialogue, remote, number, todos))
}

async function askNumber(talk: QuestionContext): Promise<string> {
  const said = await answerFor(
    talk,
    'S2_WORKER',
    talk.given.number,
    'What is the number of this worker? ',
    'a worker needs one',
  )
  return said === '' ? '' : String(SETTINGS.S2_WORKER.parse(said))
}

async function askWake(talk: QuestionContext): Promise<string> {
  return await answerFor(
    talk,
    'S2_WAKE',
    talk.given.wake,
    'Which command wakes the agent here when a message comes? Empty: none. ',
    null,
  )
}

/** Whether a setting has to be asked for: no option gives it, and it is not set or is to be changed. */
function mustAsk({ host, given }: QuestionContext, name: SettingName, said: string | undefined): boolean {
  return said === undefined && (given.force === true || valueSet(host, name) === undefined)
}

function valueSet(host: ThisHost, name: SettingName): string | undefined {
  return name === 'S2_WAKE' ? (host.watcherSet[name] ?? host.set[name]) : host.set[name]
}

/** The value of a setting: given, set, or answered; empty where it is left out. `demanded` says why it cannot be. */
async function answerFor(
  talk: QuestionContext,
  name: SettingName,
  said: string | undefined,
  question: string,
  demanded: string | null,
): Promise<string> {
  const { dialogue, host } = talk
  if (said !== undefined) return said
  const set = valueSet(host, name)
  const fault = set === undefined || set === '' ? null : refusalOf(name, set)
  if (fault !== null) {
    if (!dialogue.canAsk) throw new ConfigError([`${name}=${redact(JSON.stringify(set))} ${fault}`])
    dialogue.say(`${name} is ${set}, as it is set: ${fault}`)
    return await dialogue.ask(question, checkOf(name, demanded ?? 'another one is needed'))
  }
  if (!mustAsk(talk, name, said)) {
    dialogue.say(`${name} is ${set}, as it is set`)
    return set ?? ''
  }
  if (!dialogue.canAsk) return set ?? ''
  const answer = await dialogue.ask(
    set === undefined ? question : `${question}Enter: ${set} `,
    checkOf(name, set === undefined ? demanded : null),
  )
  return answer === '' ? (set ?? '') : answer
}

/** Why services would refuse a value; null when they accept it. */
function refusalOf(name: SettingName, set: string): string | null {
  try {
    SETTINGS[name].parse(set)
    return null
  } catch (error) {
    return (error as Error).message
  }
}

/** Checks an answer by the rules of its setting. */
function checkOf(name: SettingName, demanded: string | null): Check {
  return (answer) => {
    if (answer === '') return demanded
    const { parse, example } = SETTINGS[name]
    try {
      if (name === 'S2_BRIDGE_URL') parseBridge(answer)
      else parse(answer)
      return null
    } catch (error) {
      return `it ${(error as Error).message}; for example ${example}`
    }
  }
}

/** Throws for options that are missing where nobody can be asked, and for those that this role does not have. */
export function checkGivenOptions({ host, given, dialogue }: QuestionContext): void {
  const isWorker = host.worker !== null
  const missing = [
    ...(isWorker && (given.remote ?? '') === '' && host.set.S2_GIT_REMOTE === undefined ? ['--remote'] : []),
    ...(isWorker && (given.number ?? '') === '' && host.set.S2_WORKER === undefined ? ['--number'] : []),
  ]
  if (missing.length > 0 && !dialogue.canAsk)
    throw new UsageError(`a worker needs ${missing.join(' and ')}`, `add ${missing.join(' and ')}`)
  const stray = [
    ...(host.orchestrator === null && given.bridgeUrl !== undefined
      ? ['--bridge-url: it comes with the credential']
      : []),
    ...(!isWorker && given.number !== undefined ? ['--number: only a worker has one'] : []),
  ]
  if (stray.length > 0) throw new UsageError(`this role has no ${stray.join(', no ')}`, 'leave it out')
}
