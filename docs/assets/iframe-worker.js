// Search runs in a web worker, which browsers refuse to pages opened as files. There, this runs it in a hidden frame instead.
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      this.ready = new Promise((resolve) => (frame.onload = resolve)).then(() => {
        this.inner = frame.contentWindow;
        const load = (source) =>
          new Promise((resolve, reject) => {
            const script = this.inner.document.createElement("script");
            Object.assign(script, { src: source, onload: resolve, onerror: reject });
            this.inner.document.body.append(script);
          });
        this.inner.importScripts = (...sources) => sources.reduce((before, source) => before.then(() => load(source)), Promise.resolve());
        this.inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
        return load(url);
      });
      document.body.append(frame);
    }
    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
