/** Names of packages that a registry knows: no path, address, archive or alias, which would run what somebody put there. */

const NPM = /^(?:@[a-z0-9][a-z0-9._-]{0,100}\/)?[a-z0-9][a-z0-9._-]{0,100}(?:@[0-9A-Za-z^][0-9A-Za-z.+^-]{0,50})?$/
const PIP = /^[A-Za-z0-9][A-Za-z0-9._-]{0,100}(?:==[0-9A-Za-z][0-9A-Za-z.+!-]{0,50})?$/
const ARCHIVE = /\.(?:tgz|tar|tar\.[a-z0-9]+|zip|whl|egg|gz|bz2|xz)$/i

export function installedByNpm(name: string): boolean {
  return NPM.test(name) && !ARCHIVE.test(name)
}

export function installedByPip(name: string): boolean {
  return PIP.test(name) && !ARCHIVE.test(name)
}
