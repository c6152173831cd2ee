import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { freePort } from './port.ts'

const SSHD = '/usr/sbin/sshd'

/** Why there is no ssh server for a test here; false where there is one. */
export const noSshd = existsSync(SSHD) ? false : `there is no ${SSHD} here`

/**
 * An ssh server on loopback for one test, and a home with an empty ssh configuration. The test's ssh gets a configuration file,
 * because ssh takes the home from passwd(5) and not from HOME.
 */
export class Sshd implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 's2-sshd-'))
  readonly home = join(this.folder, 'home')
  readonly knownHosts = join(this.home, '.ssh', 'known_hosts')
  readonly key = join(this.home, '.ssh', 'id_ed25519')
  /** The value for GIT_SSH_COMMAND. */
  readonly ssh = `ssh -F ${join(this.folder, 'config')}`
  readonly #server: ChildProcess
  readonly #port: number

  private constructor(server: (folder: string) => ChildProcess, port: number) {
    this.#port = port
    mkdirSync(this.home, { mode: 0o700 })
    this.makeKey(join(this.folder, 'host'))
    this.letIn('')
    writeFileSync(
      join(this.folder, 'sshd_config'),
      [
        `Port ${port}`,
        'ListenAddress 127.0.0.1',
        `HostKey ${join(this.folder, 'host')}`,
        'PidFile none',
        `AuthorizedKeysFile ${join(this.folder, 'let-in')}`,
        'StrictModes no',
        'UsePAM no',
        'PasswordAuthentication no',
        'KbdInteractiveAuthentication no',
        '',
      ].join('\n'),
    )
    writeFileSync(
      join(this.folder, 'config'),
      `Host *\n  UserKnownHostsFile ${this.knownHosts}\n  IdentityFile ${this.key}\n  IdentitiesOnly yes\n`,
    )
    this.#server = server(this.folder)
  }

  static async start(): Promise<Sshd> {
    // As root, sshd needs the folder that it confines its children to.
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true })
    const spawned = (folder: string): ChildProcess =>
      spawn(SSHD, ['-D', '-e', '-f', join(folder, 'sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'] })
    const sshd = new Sshd(spawned, await freePort())
    await sshd.#listening()
    return sshd
  }

  /** Authorises one key, with `options`, and no other. */
  letIn(publicKey: string, options = ''): void {
    writeFileSync(join(this.folder, 'let-in'), `${options}${options === '' ? '' : ' '}${publicKey}\n`)
  }

  makeKey(path: string): string {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'test', '-f', path])
    return readFileSync(`${path}.pub`, 'utf8').trim()
  }

  /** A known_hosts line for this server with a public key, by default its own. */
  known(publicKey = readFileSync(join(this.folder, 'host.pub'), 'utf8')): string {
    return `[127.0.0.1]:${this.#port} ${publicKey.split(' ').slice(0, 2).join(' ').trim()}\n`
  }

  /** The fingerprint of the server's key, as `ssh-keygen -l` prints it. */
  get fingerprint(): string {
    return (
      execFileSync('ssh-keygen', ['-l', '-f', join(this.folder, 'host.pub')], { encoding: 'utf8' }).split(' ')[1] ?? ''
    )
  }

  url(path: string, port = this.#port): string {
    return `ssh://${userInfo().username}@127.0.0.1:${port}${path}`
  }

  async #listening(): Promise<void> {
    const { stderr } = this.#server
    if (stderr === null) throw new Error('the ssh server says nothing')
    const said: string[] = []
    for await (const line of createInterface(stderr)) {
      said.push(line)
      if (line.includes('Server listening')) {
        stderr.resume()
        return
      }
    }
    throw new Error(`the ssh server ended: ${said.join('; ')}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = this.#server.exitCode === null ? once(this.#server, 'exit') : null
    this.#server.kill()
    await ended
    rmSync(this.folder, { recursive: true, force: true })
  }
}
