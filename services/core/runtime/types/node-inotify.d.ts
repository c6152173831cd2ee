/** The package ships no types. Only what was tested on Node 24 is declared here. */
declare module 'node-inotify' {
  export interface InotifyEvent {
    readonly watch: number
    readonly mask: number
    readonly cookie: number
    /** Present only for a file inside a watched directory. */
    readonly name?: string
  }

  export class Inotify {
    constructor(persistent?: boolean)
    /** Answers the watch descriptor, or -1 when the kernel refused; it neither throws nor says why. */
    addWatch(watch: { path: string; watch_for: number; callback: (event: InotifyEvent) => void }): number
    /** Throws EINVAL when the kernel has already dropped the watch. */
    removeWatch(descriptor: number): boolean
    /** A second call aborts the process. */
    close(): boolean
    /** The callbacks are properties of the instance by descriptor; the one under -1 is called when the queue overflows. */
    [descriptor: number]: (event: InotifyEvent) => void

    static readonly IN_ACCESS: number
    static readonly IN_ALL_EVENTS: number
    static readonly IN_ATTRIB: number
    static readonly IN_CLOSE: number
    static readonly IN_CLOSE_NOWRITE: number
    static readonly IN_CLOSE_WRITE: number
    static readonly IN_CREATE: number
    static readonly IN_DELETE: number
    static readonly IN_DELETE_SELF: number
    static readonly IN_DONT_FOLLOW: number
    static readonly IN_IGNORED: number
    static readonly IN_ISDIR: number
    static readonly IN_MASK_ADD: number
    static readonly IN_MODIFY: number
    static readonly IN_MOVE: number
    static readonly IN_MOVED_FROM: number
    static readonly IN_MOVED_TO: number
    static readonly IN_MOVE_SELF: number
    static readonly IN_ONESHOT: number
    static readonly IN_ONLYDIR: number
    static readonly IN_OPEN: number
    static readonly IN_Q_OVERFLOW: number
    static readonly IN_UNMOUNT: number
  }

  /** CommonJS whose names Node cannot see: import the default, the named `Inotify` is undefined at run time. */
  const native: { Inotify: typeof Inotify }
  export default native
}
