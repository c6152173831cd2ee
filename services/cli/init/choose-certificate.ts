import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, isIP } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { checkServerIdentity, connect, createServer, type PeerCertificate } from 'node:tls'
import { UsageError } from '#console/failure.ts'
import { readAuthority, readCertificateFacts, readCertificates, troubleWith } from '#fleet/certificate-parser.ts'
import { S2Error } from '#fleet/errors.ts'
import { hasSucceeded } from '#runtime/run-command.ts'
import { adviceOnCertificate } from '#store/remote/tls-error-advice.ts'
import { makeCertificate, readName } from '../make-certificate.ts'
import type { BridgeAddress, Trust } from './bridge-address.ts'
import { ownAddresses } from './bridge-address.ts'
import type { QuestionContext } from './question-context.ts'
import { environmentOf, isHiddenFromServices, runAs } from './service-user.ts'
import type { SettingValues } from './settings-draft.ts'
import type { Todo } from './todo.ts'

/** How workers recognise the bridge, and the settings of the bridge for that. */
export interface ChosenCertificate {
  readonly trust: Trust | null
  readonly settings: SettingValues
  readonly todos: readonly Todo[]
}

/** Chooses a certificate for an address: the one that is set, one made here, files of the person's, or that of a proxy in front. */
export async function chooseCertificate(talk: QuestionContext, address: BridgeAddress): Promise<ChosenCertificate> {
  const { host, given, dialogue } = talk
  const { S2_TLS_CERT: cert, S2_TLS_KEY: key, S2_TLS_CA: ca, S2_BEHIND_PROXY: proxy } = host.set
  const isOpen = given.force === true || given.certificate !== undefined || given.tlsCert !== undefined
  if (!isOpen && proxy === 'yes') return { trust: 'proxy', settings: {}, todos: [] }
  if (!isOpen && cert !== undefined && key !== undefined) {
    const fault = await certificateFault(talk, address, { cert, key, ca })
    if (fault === null) dialogue.say(`the certificate ${cert} is set, and good for ${address.host}`)
    else dialogue.say(`${cert}: ${fault.why}`)
    const todos = fault === null ? [] : [{ what: `mend the certificate ${cert}: ${fault.why}` }]
    return { trust: 'files', settings: {}, todos }
  }
  const trust = given.certificate ?? (given.tlsCert === undefined ? await askTrust(talk) : 'files')
  if (trust === 'proxy') return { trust, settings: {}, todos: [] }
  if (trust === 'own') return await makeOwn(talk, address)
  if (trust === 'files') return await takeFiles(talk, address)
  const what =
    'say how workers recognise the bridge: by a certificate made here (own), by files of yours, or by a proxy'
  return { trust: null, settings: {}, todos: [{ what, commands: [`${host.command} init --certificate own`] }] }
}

/** Null without a terminal to ask at. */
async function askTrust({ dialogue }: QuestionContext): Promise<Trust | null> {
  if (!dialogue.canAsk) return null
  const check = (answer: string): string | null => (/^(own|files|proxy)?$/.test(answer) ? null : 'own, files or proxy')
  const question =
    'Its certificate: made here (own), files that you have (files), or that of a proxy in front (proxy)? Enter: own '
  return ((await dialogue.ask(question, check)) || 'own') as Trust
}

/** The lowest port that a service without root may listen on. */
const PORT_LEAST = 1_024

async function makeOwn(
  { host, context, dialogue, onMade }: QuestionContext,
  address: BridgeAddress,
): Promise<ChosenCertificate> {
  checkPort(address)
  const names = [address.host, ...[hostname(), ...ownAddresses()].filter(canBeNamed)]
  const { files, facts, isNewAuthority } = await makeCertificate(
    { folder: join(host.folder, 'tls'), names: [...new Set(names)] },
    { clock: context.clock, env: context.env },
  )
  onMade(`a certificate: ${files.cert}`)
  const until = new Date(facts.notAfter).toISOString().slice(0, 10)
  dialogue.say(`${files.cert}: for ${facts.names.join(', ')}, until ${until}`)
  if (isNewAuthority) dialogue.say('workers get its authority with their credentials: nothing has to be copied')
  return { trust: 'own', settings: { S2_TLS_CERT: files.cert, S2_TLS_KEY: files.key, S2_TLS_CA: files.ca }, todos: [] }
}

/** Some host names cannot stand in a certificate, such as my_host. */
function canBeNamed(host: string): boolean {
  try {
    readName(host)
    return true
  } catch {
    return false
  }
}

function checkPort({ port, url }: BridgeAddress): void {
  if (port >= PORT_LEAST) return
  throw new UsageError(
    `the bridge does not run as root, so it cannot listen on port ${port} of ${url}`,
    `take a port from ${PORT_LEAST} on, such as :7433, or a proxy (--certificate proxy)`,
  )
}

interface Files {
  readonly cert: string
  readonly key: string
  readonly ca: string | undefined
}

async function takeFiles(talk: QuestionContext, address: BridgeAddress): Promise<ChosenCertificate> {
  const { dialogue, given } = talk
  checkPort(address)
  const path = async (said: string | undefined, question: string): Promise<string> => {
    if (said !== undefined) return said
    if (!dialogue.canAsk) throw new UsageError('missing the files of the certificate', 'add --tls-cert and --tls-key')
    return await dialogue.ask(question, (answer) => (answer.startsWith('/') ? null : 'it must begin with /'))
  }
  for (let said: Partial<Files> = { cert: given.tlsCert, key: given.tlsKey } as Partial<Files>; ; said = {}) {
    const cert = await path(said.cert, 'Which file holds the certificate, followed by those that signed it? ')
    const key = await path(said.key, 'Which file holds its key? ')
    let ca = given.tlsCa
    let fault = await certificateFault(talk, address, { cert, key, ca })
    if (fault?.needsAuthority === true && ca === undefined && dialogue.canAsk) {
      dialogue.say(fault.why)
      ca = await path(undefined, 'Which file holds the authority that signed it, for the workers? ')
      fault = await certificateFault(talk, address, { cert, key, ca })
    }
    if (fault === null) {
      dialogue.say(`${cert} is good for ${address.host}`)
      const settings = { S2_TLS_CERT: cert, S2_TLS_KEY: key, ...(ca === undefined ? {} : { S2_TLS_CA: ca }) }
      return { trust: 'files', settings, todos: [] }
    }
    if (!dialogue.canAsk)
      throw new S2Error('invalid', `${cert}: ${fault.why}`, { next: 'mend the files, or name others' })
    dialogue.say(fault.why)
  }
}

/** Why a certificate cannot be used. */
interface Fault {
  readonly why: string
  /** Whether workers would accept it if they had the authority that signed it. */
  readonly needsAuthority?: true
}

/** The fault of a certificate for an address, read as the user of the services; null when it has none. */
async function certificateFault(
  talk: QuestionContext,
  { host: name }: BridgeAddress,
  { cert, key, ca }: Files,
): Promise<Fault | null> {
  const { host, context, dialogue } = talk
  const { orchestrator } = host
  if (orchestrator === null) return null
  const texts: string[] = []
  for (const path of [cert, key, ...(ca === undefined ? [] : [ca])]) {
    if (host.services.isOfMachine && isHiddenFromServices(path))
      return {
        why: `${path} lies where services are not let in, such as homes and /tmp: put it elsewhere, such as ${host.folder}/tls`,
      }
    const env = environmentOf(orchestrator, {}, context)
    const ending = await runAs(
      orchestrator,
      { argv: ['cat', '--', path], env, timeoutMs: 10_000 },
      context,
      dialogue.signal,
    )
    if (!hasSucceeded(ending)) return { why: `${orchestrator.user} cannot read it: ${ending.stderr.trim()}` }
    texts.push(ending.stdout.toString('utf8'))
  }
  const [certText = '', keyText = '', caText] = texts
  try {
    const trouble = troubleWith(readCertificateFacts(certText), context.clock.wall())
    if (trouble !== null && trouble.kind !== 'expires soon') return { why: `it ${trouble.why}` }
    const [certificate] = readCertificates(certText)
    if (certificate?.checkPrivateKey(createPrivateKey(keyText)) !== true) return { why: `${key} is not its key` }
    const authority = caText === undefined ? undefined : readAuthority(caText)
    return await tryHandshake({ cert: certText, key: keyText }, name, authority)
  } catch (error) {
    return { why: `it ${(error as Error).message}` }
  }
}

/** Makes a TLS handshake as workers will. Answers why the client does not trust the certificate, or null. */
async function tryHandshake(
  own: { readonly cert: string; readonly key: string },
  name: string,
  authority: string | undefined,
): Promise<Fault | null> {
  const server = createServer(own).listen(0, '127.0.0.1')
  server.on('tlsClientError', () => undefined)
  try {
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const ca = authority === undefined ? {} : { ca: authority }
    const called = isIP(name) === 0 ? { servername: name } : {}
    const checkName = (_: string, certificate: PeerCertificate): Error | undefined =>
      checkServerIdentity(name, certificate)
    const client = connect({ host: '127.0.0.1', port, ...called, checkServerIdentity: checkName, ...ca })
    client.on('error', () => undefined)
    try {
      await once(client, 'secureConnect')
      return null
    } catch (error) {
      const advice = adviceOnCertificate(error)
      if (advice?.kind === 'unknown authority')
        return {
          why: `the authority that signed it is not known to other machines (${(error as Error).message})`,
          needsAuthority: true,
        }
      return { why: advice === null ? (error as Error).message : advice.what }
    } finally {
      client.destroy()
    }
  } finally {
    server.close()
  }
}
