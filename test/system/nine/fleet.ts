import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemChance, systemClock } from '../../../services/core/runtime/clock.ts'
import { recordingLog } from '../../../services/core/runtime/log.ts'
import { openStore } from '../../../services/core/store/open-store.ts'
import type { Store } from '../../../services/core/store/store.ts'
import { makeCertificate } from '../../bridge/certificate.ts'
import { ROLES, workerOf } from '../../rehearse/stage.ts'
import { until } from '../../until.ts'
import { DISK, Machine, type Settings } from './machine.ts'
import { Router } from './network.ts'

const LEAD = 9
const GIT = 10
const REPOSITORY = 'fleet.git'
/** What is set on every machine. */
const EVERYWHERE: Settings = { NODE_EXTRA_CA_CERTS: `${DISK}/authority.crt` }
/** A wake command that keeps what it was told. */
const WAKE = `cat >> ${DISK}/wakes`
const EXEC = `echo "$S2_TASK_ID $S2_TASK_EPOCH began" >> ${DISK}/ledger; sh -c "$S2_TASK_DESCRIPTION" && echo "$S2_TASK_ID $S2_TASK_EPOCH ended" >> ${DISK}/ledger`

/** Three are away at once: whoever is left stands in for them. */
const STAND_INS = ROLES.map((role) => `${role}=any`).join(',')

/** Eight workers, the orchestrator's host and the git server, each a machine; every setting that has a default has it. */
export class Fleet {
  readonly router = new Router()
  readonly lead: Machine
  readonly git: Machine
  readonly workers: readonly Machine[]
  readonly remote: string
  /** The repository behind it, on the git machine's disk. */
  readonly repository = `${DISK}/${REPOSITORY}`

  readonly #work: string

  constructor(work: string) {
    this.#work = work
    this.remote = `git://${this.router.addressOf(GIT)}/${REPOSITORY}`
    const listen = `${this.router.addressOf(LEAD)}:7433`
    this.lead = this.machine('orchestrator', LEAD, {
      S2_GIT_REMOTE: this.remote,
      S2_LISTEN: listen,
      S2_BRIDGE_URL: `https://${listen}`,
      S2_TLS_CERT: `${DISK}/bridge.crt`,
      S2_TLS_KEY: `${DISK}/bridge.key`,
      S2_FALLBACK: STAND_INS,
    })
    this.git = this.machine('git', GIT)
    this.workers = ROLES.map((_, index) => this.machine(workerOf(index + 1), index + 1))
  }

  machine(name: string, number: number, settings: Settings = {}): Machine {
    return new Machine(name, number, this.#work, this.router, { ...EVERYWHERE, ...settings })
  }

  /** Boots all machines, and starts everything but the workers. */
  async raise(): Promise<Store> {
    await Promise.all(this.machines.map((machine) => machine.boot()))
    const { cert, key } = makeCertificate(new Date(), this.lead.address)
    for (const machine of this.machines) this.layAuthority(machine, cert)
    writeFileSync(join(this.lead.disk, 'bridge.crt'), cert)
    writeFileSync(join(this.lead.disk, 'bridge.key'), key, { mode: 0o600 })
    await this.git.run('git', 'init', '--quiet', '--bare', '--initial-branch=main', this.repository)
    this.serveGit()
    this.startBridge()
    const socket = join(this.lead.state, 'run', 'admin.sock')
    await until('the bridge answers', () => existsSync(socket))
    this.startBesideBridge()
    return await openStore(`unix:${socket}`, { clock: systemClock, chance: systemChance, log: recordingLog() })
  }

  get machines(): readonly Machine[] {
    return [this.lead, this.git, ...this.workers]
  }

  /** The authority that all machines trust for the bridge's certificate, PEM. */
  get authority(): string {
    return readFileSync(join(this.lead.disk, 'authority.crt'), 'utf8')
  }

  layAuthority({ disk }: Machine, authority = this.authority): void {
    writeFileSync(join(disk, 'authority.crt'), authority)
  }

  startBridge(): void {
    this.lead.start('bridge')
  }

  /** The other programs of the orchestrator's host. */
  startBesideBridge(): void {
    this.lead.start('watchdog')
    this.startIssuer()
    this.lead.start('keepalive')
    this.lead.start('fs-watcher', ['fs-watcher.js'], { S2_SOURCE: 'database', S2_WAKE: WAKE })
  }

  startIssuer(): void {
    this.lead.start('cred-sync', ['cred-sync.js'], { S2_ISSUER: 'yes' })
  }

  serveGit(): void {
    const options = `--export-all --enable=receive-pack --base-path=${DISK} --reuseaddr ${DISK}`
    this.git.start('git', ['sh', '-c', `exec "$(git --exec-path)/git-daemon" ${options}`])
  }

  startWorker(worker: Machine): void {
    worker.start('cred-sync')
    worker.start('keepalive')
    worker.start('fs-watcher', ['fs-watcher.js'], { S2_WAKE: WAKE })
    worker.start('work', ['s2.js', 'work', '--exec', EXEC, '--json'])
  }

  worker(number: number): Machine {
    const found = this.workers[number - 1]
    if (found === undefined) throw new Error(`there is no worker ${number}`)
    return found
  }

  machineOf(agent: string): Machine {
    return this.workers.find(({ name }) => name === agent) ?? this.lead
  }

  /** Invites a worker and lets its machine join: the line goes from one terminal to the other. */
  async letJoin(number: number, role: string): Promise<void> {
    const line = await this.lead.s2('worker', 'invite', String(number), '--role', role)
    await this.worker(number).tell(line, 's2.js', 'worker', 'join', '-')
  }

  /** Lets hints be lost on a machine: the folder in which its programs leave them cannot be written, or can be again. */
  async loseHints(number: number, isLost: boolean): Promise<void> {
    const folder = `${DISK}/state/hints`
    await this.worker(number).run(
      ...(isLost ? ['mount', '-t', 'tmpfs', '-o', 'ro', 'none', folder] : ['umount', folder]),
    )
  }

  /** The commit that the branch of credentials is at. */
  async tip(): Promise<string> {
    return (await this.git.run('git', `--git-dir=${this.repository}`, 'rev-parse', 'main')).trim()
  }

  /** The token in force on a worker's disk. */
  tokenOf(number: number): string | null {
    const folder = join(this.worker(number).state, 'credentials')
    const name = existsSync(folder) ? readdirSync(folder).find((each) => /^[^.]+\.json$/.test(each)) : undefined
    return name === undefined ? null : (JSON.parse(readFileSync(join(folder, name), 'utf8')) as { token: string }).token
  }

  /** How often a task's command began and ended, on all machines, by what it wrote itself. */
  ledgerOf(task: string): { readonly began: number; readonly ended: number } {
    const lines = this.workers.flatMap(({ disk }) => linesOf(join(disk, 'ledger')))
    const count = (word: string): number =>
      lines.filter((line) => line.startsWith(`${task} `) && line.endsWith(word)).length
    return { began: count('began'), ended: count('ended') }
  }

  /** What a machine's wake command was told: a session and a message each. */
  wakesOf(machine: Machine): string[] {
    return linesOf(join(machine.disk, 'wakes')).flatMap((line) => {
      const { session, messages } = JSON.parse(line) as { session: string; messages: readonly { id: number }[] }
      return messages.map(({ id }) => `${session} ${id}`)
    })
  }
}

function linesOf(path: string): string[] {
  return existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
    : []
}
