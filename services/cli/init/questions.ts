import { lookup } from 'node:dns/promises'
import { UsageError } from '#console/failure.ts'
import { redact } from '#fleet/redact.ts'
import { identityFile, readIdentity } from '#identity/identity-file.ts'
import { parseInvitation } from '#identity/joining.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import { SETTINGS, type SettingName } from '#runtime/settings.ts'
import { type BridgeAddress, bridgeSettings, ownAddresses, ownNames, parseBridge } from './bridge-address.ts'
import { type ChosenCertificate, chooseCertificate } from './choose-certificate.ts'
import type { Check, Dialogue } from './dialogue.ts'
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
  /** The invitation by which this host's worker joins; null where it has none, or needs none. */
  readonly invitation: string | null
}

/** Asks for all that is neither given nor set, and tests each answer while the person can still correct it. */
export async function askQuestions(talk: QuestionContext): Promise<Answers> {
  const { host } = talk
  const todos: Todo[] = []
  const bridge = host.orchestrator === null ? {} : await askBridge(talk, todos)
  const line = host.worker === null ? null : await askInvitation(talk)
  const address = await askRemote(talk, line, todos)
  const S2_WAKE = await askWake(talk)
  return {
    common: { ...bridge, ...withoutEmpty({ S2_GIT_REMOTE: address }) },
    watcher: withoutEmpty({ S2_WAKE }),
    todos,
    invitation: line,
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

/** Asks for the invitation of this host's worker, unless it has joined already; on a host with both roles one is made here. */
async function askInvitation({ dialogue, host, context, given }: QuestionContext): Promise<string | null> {
  const { worker } = host
  if (worker === null || host.role === 'both') return null
  if (given.join !== undefined)
    return checkedLine(given.join === '-' ? await context.input(LINE_MAX) : given.join, context)
  const known = await readIdentity(identityFile(worker.state)).catch(() => null)
  if (known !== null && known.membership !== null && given.force !== true) {
    dialogue.say(`this host is ${known.membership.agent} of the bridge ${known.membership.bridgeUrl}`)
    return null
  }
  if (!dialogue.canAsk) return null
  const answer = await dialogue.ask(
    'Which line did `s2 worker invite` print on the orchestrator’s host? Empty: join later. ',
    (text) => {
      try {
        if (text !== '') parseInvitation(text, context.clock.wall())
        return null
      } catch (error) {
        return (error as Error).message
      }
    },
  )
  return answer === '' ? null : answer
}

const LINE_MAX = 16_384

function checkedLine(line: string, { clock }: QuestionContext['context']): string {
  parseInvitation(line, clock.wall())
  return line
}

/** Asks for the remote that credentials go through, and gets access to it or says what is left to do for that. */
async function askRemote(talk: QuestionContext, line: string | null, todos: Todo[]): Promise<string> {
  const { dialogue, host, context, onMade, given } = talk
  const invited = line === null ? null : parseInvitation(line, context.clock.wall()).remote
  let address =
    given.remote === undefined && invited !== null && host.set.S2_GIT_REMOTE === undefined
      ? invited
      : await answerFor(
          talk,
          'S2_GIT_REMOTE',
          given.remote,
          'Which git remote do credentials go through? Empty: none. ',
          null,
        )
  if (address === '') return address
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
    if (access.todo !== null) todos.push(access.todo)
    address = access.address
  }
  return address
}

/** The remote as the orchestrator and the worker of this host use it. */
function remotesOf({ orchestrator, worker, set, services }: ThisHost, address: string): Remote[] {
  const branch = set.S2_GIT_BRANCH ?? SETTINGS.S2_GIT_BRANCH.fallback
  const common = { address, branch, settings: set }
  return [
    ...(orchestrator === null
      ? []
      : [{ ...common, user: orchestrator, right: 'push' as const, isSandboxed: services.isOfMachine }]),
    ...(worker === null
      ? []
      : [{ ...common, user: worker, right: 'read' as const, isSandboxed: services.isOfMachine }]),
  ]
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

/** Throws for options that this role does not have. */
export function checkGivenOptions({ host, given }: QuestionContext): void {
  const stray = [
    ...(host.orchestrator === null && given.bridgeUrl !== undefined
      ? ['--bridge-url: it comes with the invitation']
      : []),
    ...(host.role !== 'worker' && given.join !== undefined ? ['--join: only a worker joins'] : []),
  ]
  if (stray.length > 0) throw new UsageError(`this role has no ${stray.join(', no ')}`, 'leave it out')
}
